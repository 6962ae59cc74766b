//! The run: consecutive packets of one inner flow on one SA, as slots of one arena.

/// Where a packet lies in its arena: the packet is `start..start + len`, and it may grow into its
/// cell `cell_start..cell_end`, its headroom and tailroom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// Offset of the packet's first byte.
    pub start: u32,
    /// Bytes of the packet.
    pub len: u32,
    /// Offset of the first byte of the cell.
    pub cell_start: u32,
    /// Offset past the last byte of the cell.
    pub cell_end: u32,
}

impl Slot {
    /// Whether the packet lies within its cell and the cell within an arena of `arena_len` bytes.
    pub fn fits(&self, arena_len: usize) -> bool {
        self.cell_start <= self.start
            && u64::from(self.start) + u64::from(self.len) <= u64::from(self.cell_end)
            && self.cell_end as usize <= arena_len
    }

    /// The packet's range in the arena.
    pub fn range(&self) -> core::ops::Range<usize> {
        self.start as usize..self.start as usize + self.len as usize
    }

    /// Bytes in front of the packet that belong to it.
    pub fn headroom(&self) -> usize {
        (self.start - self.cell_start) as usize
    }

    /// Bytes behind the packet that belong to it.
    pub fn tailroom(&self) -> usize {
        (self.cell_end - self.start - self.len) as usize
    }
}

/// A cell has too little headroom or tailroom for what has to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

/// Packets of one flow on one SA: the unit of lookup, reservation, window and system calls. A lone
/// packet is a run of one.
#[derive(Debug)]
pub struct Run<'a> {
    arena: &'a mut [u8],
    slots: &'a mut [Slot],
}

impl<'a> Run<'a> {
    /// Slots over an arena, or `None` when a slot leaves its cell or the arena.
    pub fn new(arena: &'a mut [u8], slots: &'a mut [Slot]) -> Option<Self> {
        let arena_len = arena.len();
        slots
            .iter()
            .all(|slot| slot.fits(arena_len))
            .then_some(Self { arena, slots })
    }

    /// How many packets.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is no packet.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The slots.
    pub fn slots(&self) -> &[Slot] {
        self.slots
    }

    /// The bytes of packet `index`.
    pub fn packet(&self, index: usize) -> &[u8] {
        &self.arena[self.slots[index].range()]
    }

    /// The bytes of packet `index`, to write.
    pub fn packet_mut(&mut self, index: usize) -> &mut [u8] {
        &mut self.arena[self.slots[index].range()]
    }

    /// Grows packet `index` into its headroom and tailroom; what is there is whatever was there.
    pub fn grow(&mut self, index: usize, front: usize, back: usize) -> Result<&mut [u8], NoRoom> {
        let slot = &mut self.slots[index];
        if slot.headroom() < front || slot.tailroom() < back {
            return Err(NoRoom);
        }
        slot.start -= front as u32;
        slot.len += (front + back) as u32;
        Ok(&mut self.arena[slot.range()])
    }

    /// Makes packet `index` the part `skip..skip + len` of what it is.
    ///
    /// # Panics
    /// When the part is not within the packet.
    pub fn narrow(&mut self, index: usize, skip: usize, len: usize) {
        let slot = &mut self.slots[index];
        assert!(
            skip + len <= slot.len as usize,
            "a part of a packet lies within it"
        );
        slot.start += skip as u32;
        slot.len = len as u32;
    }
}
