//! Marks, table and priority from the owner's name, so that a restart finds its own and two
//! owners do not meet.

use crate::error::Error;

/// The packet marks of one owner.
///
/// All owners share one field of the mark, 12 bits at the top: the lowest two say what the mark
/// means, the other ten whose it is. The rest of the mark belongs to others and is kept.
///
/// ```text
///  31                  22 21 20 19                                      0
///  +---------------------+-----+---------------------------------------+
///  | owner, 1 to 1023    | use |            not ours                   |
///  +---------------------+-----+---------------------------------------+
///                          01 own: the gateway's own IKE, ESP and keepalives
///                          10 protect: goes to the TUN
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// The bits of the packet mark that are used.
    pub mask: u32,
    /// The mark of every socket of the gateway (SO_MARK): such packets pass untouched.
    pub own: u32,
    /// The mark of packets that the private table sends to the TUN.
    pub protect: u32,
}

/// The bits of the field that all owners share.
pub(crate) const FIELD_MASK: u32 = 0xfff0_0000;
/// The bits of the field that say what a mark means.
pub(crate) const USE_MASK: u32 = 0x0030_0000;
/// The use of the gateway's own packets.
pub(crate) const USE_OWN: u32 = 0x0010_0000;
/// The use of packets to protect.
pub(crate) const USE_PROTECT: u32 = 0x0020_0000;
const OWNER_SHIFT: u32 = 22;
const OWNER_COUNT: u64 = 1023;

/// The lowest private table number: "ip" in the upper half, a hash in the lower.
const TABLE_BASE: u32 = 0x6970_0000;
/// The lowest rule priority. It lies before any rule that an operator is likely to have, because
/// an earlier rule that catches a marked packet would send it out in clear.
const PRIORITY_BASE: u32 = 100;
const PRIORITY_COUNT: u64 = 800;

impl Marks {
    /// Derives the marks from the owner's name: the same name gives the same marks, always.
    pub fn for_owner(owner: &str) -> Marks {
        let number = (hash(owner) % OWNER_COUNT) as u32 + 1;
        let owner_bits = number << OWNER_SHIFT;
        Marks {
            mask: FIELD_MASK,
            own: owner_bits | USE_OWN,
            protect: owner_bits | USE_PROTECT,
        }
    }

    /// Derives the number of the private routing table from the owner's name.
    pub fn table_for_owner(owner: &str) -> u32 {
        TABLE_BASE | (hash(owner) >> 16) as u32 & 0xffff
    }

    /// Derives the priority of the routing rule from the owner's name.
    pub fn priority_for_owner(owner: &str) -> u32 {
        PRIORITY_BASE + (hash(owner).rotate_left(13) % PRIORITY_COUNT) as u32
    }

    /// Checks that the marks can be told apart.
    pub(crate) fn check(self) -> Result<(), Error> {
        let fits = |mark: u32| mark != 0 && mark & !self.mask == 0;
        if fits(self.own) && fits(self.protect) && self.own != self.protect {
            return Ok(());
        }
        Err(Error::Marks {
            mask: self.mask,
            own: self.own,
            protect: self.protect,
        })
    }
}

/// FNV-1a with a final mix, so that the low bits depend on all of the name.
fn hash(name: &str) -> u64 {
    let mut value = 0xcbf2_9ce4_8422_2325u64;
    for byte in name.bytes() {
        value = (value ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    value ^= value >> 33;
    value = value.wrapping_mul(0xff51_afd7_ed55_8ccd);
    value ^ (value >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_depend_on_the_name_alone() {
        let marks = Marks::for_owner("office");
        assert_eq!(marks, Marks::for_owner("office"));
        assert_ne!(marks.own, Marks::for_owner("home").own);
        assert!(marks.check().is_ok());
        assert_eq!(marks.own & USE_MASK, USE_OWN);
        assert_eq!(marks.protect & USE_MASK, USE_PROTECT);
        assert_eq!(marks.own & !USE_MASK, marks.protect & !USE_MASK);
    }

    #[test]
    fn tables_and_priorities_stay_in_their_ranges() {
        for name in ["a", "b", "office", "gateway-17", ""] {
            assert_eq!(Marks::table_for_owner(name) & 0xffff_0000, TABLE_BASE);
            let priority = Marks::priority_for_owner(name);
            assert!((PRIORITY_BASE..PRIORITY_BASE + 800).contains(&priority));
        }
    }

    #[test]
    fn marks_that_cannot_be_told_apart_are_refused() {
        let good = Marks::for_owner("office");
        assert!(
            Marks {
                own: good.protect,
                ..good
            }
            .check()
            .is_err()
        );
        assert!(Marks { own: 0, ..good }.check().is_err());
        assert!(Marks { own: 1, ..good }.check().is_err());
    }
}
