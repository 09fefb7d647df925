#!/bin/busybox sh
# The first process of the machine, until its disk is there: loads the modules and goes over to the disk.
b=/bin/busybox
$b mount -t devtmpfs dev /dev
for module in /modules/*; do
    $b insmod "$module" || $b echo "cannot load $module"
done
$b mount -t ext4 /dev/vda /new || $b echo "there is no disk"
$b mount --move /dev /new/dev
exec $b switch_root /new /vm/init
