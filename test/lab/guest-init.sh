#!/bin/busybox sh
# The first program of the guest: the host's files, read-only, under a layer in memory.
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
for module in virtio_pci 9pnet_virtio 9p overlay; do $b modprobe $module; done
nine=trans=virtio,version=9p2000.L,msize=524288
$b mount -t 9p -o $nine,ro,cache=loose hostroot /lower
$b mount -t tmpfs tmpfs /layer
$b mkdir -p /layer/upper /layer/work
$b mount -t overlay -o lowerdir=/lower,upperdir=/layer/upper,workdir=/layer/work overlay /newroot
for folder in proc sys dev; do $b mount -o bind /$folder /newroot/$folder; done
$b mount -t tmpfs tmpfs /newroot/run
$b mkdir -p /newroot/run/netns /newroot/run/job
$b mount -t 9p -o $nine hostjob /newroot/run/job
exec $b switch_root /newroot /bin/bash /run/job/start
