//! Control messages of sendmsg and recvmsg: `cmsghdr` and its data in a byte buffer, aligned to the
//! machine's word as the kernel's CMSG macros have it.

const WORD: usize = size_of::<usize>();
const HEADER_LEN: usize = WORD + 8;

/// Room for address, traffic class and segment length at once.
pub(crate) const CONTROL_LEN: usize = 128;

/// Control messages to send.
#[derive(Default)]
pub(crate) struct ControlMessages {
    bytes: ControlBuffer,
    len: usize,
}

struct ControlBuffer([u8; CONTROL_LEN]);

impl Default for ControlBuffer {
    fn default() -> Self {
        Self([0; CONTROL_LEN])
    }
}

impl ControlMessages {
    /// Appends one message. Room is for all that this crate sends, so it cannot fail.
    pub(crate) fn push(&mut self, level: i32, kind: i32, data: &[u8]) {
        let len = HEADER_LEN + data.len();
        let space = &mut self.bytes.0[self.len..self.len + len];
        space[..WORD].copy_from_slice(&len.to_ne_bytes());
        space[WORD..WORD + 4].copy_from_slice(&level.to_ne_bytes());
        space[WORD + 4..HEADER_LEN].copy_from_slice(&kind.to_ne_bytes());
        space[HEADER_LEN..].copy_from_slice(data);
        self.len += len.next_multiple_of(WORD);
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes.0[..self.len]
    }
}

/// Walks over received control messages: level, kind, data.
pub(crate) fn iter(mut bytes: &[u8]) -> impl Iterator<Item = (i32, i32, &[u8])> {
    std::iter::from_fn(move || {
        let (len, rest) = bytes.split_first_chunk::<WORD>()?;
        let len = usize::from_ne_bytes(*len);
        let level = i32::from_ne_bytes(*rest.first_chunk::<4>()?);
        let kind = i32::from_ne_bytes(*rest.get(4..)?.first_chunk::<4>()?);
        let data = bytes.get(HEADER_LEN..len)?;
        bytes = bytes.get(len.next_multiple_of(WORD)..).unwrap_or(&[]);
        Some((level, kind, data))
    })
}
