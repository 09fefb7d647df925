#!/bin/sh
# The first process of the machine once its disk is there: makes it a machine, runs the tests that /vm/suites.* list, tells
# by lines that begin with @@ how they went, and turns the machine off.
export PATH=/usr/sbin:/usr/bin HOME=/root TERM=dumb
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /dev/pts /dev/shm /dev/mqueue
mount -t devpts -o mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t mqueue mqueue /dev/mqueue
mount -t tmpfs run /run
ip link set lo up
hostname machine
# Swap that is no disk's, so that its limits have something to limit.
echo 128M >/sys/block/zram0/disksize && busybox mkswap /dev/zram0 >/dev/null && busybox swapon /dev/zram0
# A scheduler that knows weights.
echo bfq >/sys/block/vda/queue/scheduler
# Messages of the kernel go to the other line.
exec </dev/null >/dev/ttyS1 2>&1
stty -F /dev/ttyS1 -opost 2>/dev/null

read -r up _ </proc/uptime
echo "@@ up $up"
tab=$(printf '\t')
# Everything that a suite has said is told at once, since another one runs beside it.
lane() {
    while IFS=$tab read -r name folder limit program arguments; do
        cd "$folder" || continue
        read -r start _ </proc/uptime
        # Everything that tests leave running ends with them.
        GANTRY_TEST_SKIPS=/vm/skips timeout -s KILL "$limit" "$program" $arguments </dev/null >"/vm/said.$1" 2>&1
        code=$?
        read -r end _ </proc/uptime
        flock /vm/lock sh -c "echo '@@ begin $name'; cat /vm/said.$1; echo '@@ end $name $code $((${end%.*} - ${start%.*}))'"
    done <"$1"
}
cd /vm
for suites in suites.*; do
    lane "$suites" &
done
wait
[ -f /vm/skips ] && sed 's/^/@@ skipped /' /vm/skips
echo "@@ done"
sync
busybox poweroff -f
