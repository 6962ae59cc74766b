//! The Linux TUN, by tun-rs, read and written with scattering calls.

use super::{PART_COUNT_MAX, TunQueue, TunRead};
use crate::offload::{self, ReadOffload, VNET_HEADER_LEN, WriteOffload};
use crate::{OpenError, Part, sys};
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use tun_rs::DeviceBuilder;

/// How to open a TUN interface.
#[derive(Clone, Debug)]
pub struct TunOptions {
    /// Interface name.
    pub name: String,
    /// Ask for segmentation offload.
    pub segmentation: bool,
    /// Keep the interface when the process ends (the guard's routes go with it otherwise).
    pub persist: bool,
}

/// A queue of a Linux TUN interface; clones share it.
#[derive(Clone)]
pub struct LinuxTun {
    file: Arc<File>,
    vnet_header: bool,
}

impl LinuxTun {
    /// Opens or makes the interface. `Ok((_, segmentation))` says whether offload was granted.
    pub fn open(options: &TunOptions) -> Result<(Self, bool), OpenError> {
        let fail = |source| OpenError::Tun {
            name: options.name.clone(),
            source,
        };
        let build = |offload: bool| {
            DeviceBuilder::new()
                .name(options.name.as_str())
                .offload(offload)
                .packet_information(false)
                .inherit_enable_state()
                .build_sync()
        };
        let (device, vnet_header) = match build(options.segmentation) {
            Ok(device) => (device, options.segmentation),
            // The kernel refuses an offload ioctl: work without.
            Err(error)
                if options.segmentation
                    && matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) =>
            {
                (build(false).map_err(fail)?, false)
            }
            Err(error) => return Err(fail(error)),
        };
        device.set_nonblocking(true).map_err(fail)?;
        if options.persist {
            device.persist().map_err(fail)?;
        }
        let segmentation = vnet_header && device.tcp_gso();
        let file = Arc::new(File::from(sys::owned(device)));
        Ok((Self { file, vnet_header }, segmentation))
    }
}

impl TunQueue for LinuxTun {
    fn read(&mut self, arena: &mut [u8], parts: &[Part]) -> io::Result<Option<TunRead>> {
        let mut header = [0; VNET_HEADER_LEN];
        let skip = usize::from(!self.vnet_header);
        let mut slices: [IoSliceMut<'_>; PART_COUNT_MAX + 1] =
            std::array::from_fn(|_| IoSliceMut::new(&mut []));
        slices[0] = IoSliceMut::new(&mut header);
        let mut rest = arena;
        let mut at = 0;
        for (slice, part) in slices[1..].iter_mut().zip(parts) {
            let (_, from) = rest.split_at_mut(part.start - at);
            let (taken, behind) = from.split_at_mut(part.len);
            *slice = IoSliceMut::new(taken);
            rest = behind;
            at = part.start + part.len;
        }
        let count = parts.len().min(PART_COUNT_MAX) + 1;
        let len = match (&*self.file).read_vectored(&mut slices[skip..count]) {
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        };
        if !self.vnet_header {
            return Ok(Some(TunRead {
                len,
                offload: ReadOffload::None,
            }));
        }
        let offload = offload::decode(&header);
        Ok(len
            .checked_sub(VNET_HEADER_LEN)
            .map(|len| TunRead { len, offload }))
    }

    fn write(&mut self, offload: WriteOffload, arena: &[u8], parts: &[Part]) -> io::Result<()> {
        let header = offload::encode(offload);
        let skip = usize::from(!self.vnet_header);
        let mut slices = [IoSlice::new(&[]); PART_COUNT_MAX + 1];
        slices[0] = IoSlice::new(&header);
        for (slice, part) in slices[1..].iter_mut().zip(parts) {
            *slice = IoSlice::new(&arena[part.start..part.start + part.len]);
        }
        let count = parts.len().min(PART_COUNT_MAX) + 1;
        (&*self.file).write_vectored(&slices[skip..count]).map(drop)
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
