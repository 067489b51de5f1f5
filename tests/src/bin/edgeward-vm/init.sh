#!/bin/busybox sh
# The first process of the guest: mounts, modules, tests, power-off. Lines that begin with @@edgeward are read by
# the host (report.rs).
/bin/busybox --install -s /bin
# The real ip before busybox's.
export PATH=/usr/sbin:/bin TMPDIR=/tmp HOME=/ EDGEWARD_BIN=/bin/edgeward
# In the guest nobody reads why a test did not run: it counts as failed.
export CI=true
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
mount -t bpf bpf /sys/fs/bpf
mkdir -p /var/log/nginx
for module in /modules/*.ko; do
    insmod "$module" || echo "@@edgeward complaint cannot load $module"
done
ip link set lo up
echo "@@edgeward booted $(uname -r)"
cd /tests
# Our own checks first: whether the program loads at all.
for name in vm $(ls | grep -vx vm); do
    test=./$name
    echo "@@edgeward begin $name"
    # One at a time: on an emulated processor two labs make each other's waits time out.
    EDGEWARD_VM_GUEST=1 $test --test-threads 1 --color never
    code=$?
    echo
    echo "@@edgeward end $name $code"
done
dmesg | grep -E 'BUG:|WARNING:|Oops|Call Trace|out of memory|Out of memory|rcu.*stall' |
    head -n 20 | sed 's/^/@@edgeward complaint /'
echo "@@edgeward done"
poweroff -f
