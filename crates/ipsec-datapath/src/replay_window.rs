//! Anti-replay (RFC 4303 section 3.4.3 and Appendix A), as the ring of RFC 6479, by run.
//!
//! The types make the order the only one that compiles: [`ReplayWindow::check`] gives a [`Fresh`],
//! opening a packet turns it into an [`Authenticated`], and only that can be committed.

use crate::limits::{REPLAY_WINDOW_PACKETS_MAX, REPLAY_WINDOW_PACKETS_MIN};

/// A sequence number that the window would take, not authenticated yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fresh(u64);

impl Fresh {
    /// The whole number, its high half inferred where it is extended.
    pub fn sequence_number(self) -> u64 {
        self.0
    }

    /// For a caller that opens packets by its own means and uses the window alone: it vouches that
    /// the packet with this number passed its ICV.
    pub fn authenticated_by_caller(self) -> Authenticated {
        Authenticated(self.0)
    }

    /// For the one place that has just verified the ICV.
    pub(crate) fn authenticated(self) -> Authenticated {
        Authenticated(self.0)
    }
}

/// A sequence number whose packet passed the ICV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authenticated(u64);

impl Authenticated {
    /// The whole number.
    pub fn sequence_number(self) -> u64 {
        self.0
    }
}

/// Why the window does not take a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Left of the window, or zero.
    TooOld,
    /// Seen before.
    Duplicate,
}

/// The size is not one of 0, 64, 128 … 65,536.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a replay window has 0 or a power of two from 64 to 65536 packets")]
pub struct WindowSize;

/// The window of one inbound SA. One worker owns it.
#[derive(Debug)]
pub struct ReplayWindow {
    /// Highest number seen and committed.
    top: u64,
    /// Size in packets; 0: anti-replay is off.
    packets: u64,
    extended: bool,
    /// Bit `n % 64` of word `n / 64 % words` says that `n` was seen. One word more than the window
    /// needs, so that clearing a word ahead never clears one that counts.
    words: Box<[u64]>,
}

impl ReplayWindow {
    /// A window with `top` as its right edge: every number up to it is refused, as after a restart.
    pub fn new(packets: u32, extended: bool, top: u64) -> Result<Self, WindowSize> {
        let legal = (REPLAY_WINDOW_PACKETS_MIN..=REPLAY_WINDOW_PACKETS_MAX).contains(&packets)
            && packets.is_power_of_two();
        // RFC 4303 section 2.2.1: extended numbers need the window to infer their high half.
        if !legal && (packets != 0 || extended) {
            return Err(WindowSize);
        }
        let words = (packets as usize / 64 + 1).next_power_of_two();
        // All ones: what lies at or left of the edge counts as seen.
        Ok(Self {
            top,
            packets: u64::from(packets),
            extended,
            words: vec![u64::MAX; words].into(),
        })
    }

    /// The right edge: highest number committed.
    pub fn top(&self) -> u64 {
        self.top
    }

    /// Size in packets.
    pub fn packets(&self) -> u32 {
        self.packets as u32
    }

    /// Moves the edge right without packets: all numbers up to `top` are refused.
    pub fn refuse_up_to(&mut self, top: u64) {
        if top > self.top {
            self.top = top;
            self.words.fill(u64::MAX);
        }
    }

    /// RFC 4303 Appendix A2.2: the whole number from its low half.
    #[inline]
    fn infer(&self, low: u32) -> Option<u64> {
        if !self.extended {
            return Some(u64::from(low));
        }
        let top_low = self.top as u32;
        let top_high = (self.top >> 32) as u32;
        let bottom_low = top_low.wrapping_sub(self.packets as u32 - 1);
        let high = if u64::from(top_low) >= self.packets - 1 {
            // Case A: the window lies within one subspace.
            if low >= bottom_low {
                top_high
            } else {
                top_high.checked_add(1)?
            }
        } else if low >= bottom_low {
            // Case B: the window reaches back into the previous subspace.
            top_high.checked_sub(1)?
        } else {
            top_high
        };
        Some(u64::from(high) << 32 | u64::from(low))
    }

    #[inline]
    fn seen(&self, number: u64) -> bool {
        let word = (number / 64) as usize & (self.words.len() - 1);
        self.words[word] >> (number % 64) & 1 != 0
    }

    /// Looks, and changes nothing.
    #[inline]
    pub fn check(&self, low: u32) -> Result<Fresh, Refused> {
        let number = self.infer(low).ok_or(Refused::TooOld)?;
        if self.packets == 0 {
            return Ok(Fresh(number));
        }
        if number > self.top {
            return Ok(Fresh(number));
        }
        // RFC 4303 section 2.2: the first packet has number 1, so 0 is never sent.
        if number == 0 || self.top - number >= self.packets {
            return Err(Refused::TooOld);
        }
        if self.seen(number) {
            Err(Refused::Duplicate)
        } else {
            Ok(Fresh(number))
        }
    }

    /// Takes a run of authenticated numbers in one call and says of each whether it was new: the
    /// second of two equal ones in the run is not. `verdicts` is as long as `numbers`.
    pub fn commit(&mut self, numbers: &[Authenticated], verdicts: &mut [Result<(), Refused>]) {
        if self.packets == 0 {
            verdicts.fill(Ok(()));
            self.top = numbers
                .iter()
                .map(|number| number.0)
                .fold(self.top, u64::max);
            return;
        }
        if let Some((first, last)) = ends_of_consecutive(numbers)
            && first > self.top
        {
            self.advance_marking(first, last);
            verdicts.fill(Ok(()));
            return;
        }
        for (number, verdict) in numbers.iter().zip(verdicts) {
            *verdict = self.commit_one(number.0);
        }
    }

    fn commit_one(&mut self, number: u64) -> Result<(), Refused> {
        if number > self.top {
            self.advance_marking(number, number);
            return Ok(());
        }
        if number == 0 || self.top - number >= self.packets {
            return Err(Refused::TooOld);
        }
        if self.seen(number) {
            return Err(Refused::Duplicate);
        }
        let word = (number / 64) as usize & (self.words.len() - 1);
        self.words[word] |= 1 << (number % 64);
        Ok(())
    }

    /// Moves the edge to `last`, clears what it passes, and marks `first..=last`, all right of it.
    fn advance_marking(&mut self, first: u64, last: u64) {
        let mask = self.words.len() - 1;
        let top_word = self.top / 64;
        let last_word = last / 64;
        let fresh_words = (last_word - top_word).min(self.words.len() as u64);
        for word in last_word + 1 - fresh_words..=last_word {
            self.words[word as usize & mask] = 0;
        }
        if fresh_words == 0 || last_word - top_word < self.words.len() as u64 {
            // Bits right of the old edge in its own word may be ones from the start.
            let keep = u64::MAX >> (63 - self.top % 64);
            self.words[top_word as usize & mask] &= keep;
        }
        for word in first / 64..=last_word {
            let from = first.max(word * 64);
            let end = last.min(word * 64 + 63);
            let bits = u64::MAX >> (63 - (end - from)) << (from % 64);
            // A run longer than the ring laps itself; only the newest lap counts, and it is written last.
            self.words[word as usize & mask] |= bits;
        }
        self.top = last;
    }
}

/// First and last number of a run that counts up by one, the usual case.
fn ends_of_consecutive(numbers: &[Authenticated]) -> Option<(u64, u64)> {
    let first = numbers.first()?.0;
    let mut next = first;
    for number in numbers {
        if number.0 != next {
            return None;
        }
        next = next.checked_add(1)?;
    }
    Some((first, next - 1))
}
