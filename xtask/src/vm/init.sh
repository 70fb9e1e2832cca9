#!/bin/busybox sh
# First program of the virtual machine, in its initramfs: loads the modules, puts a writable layer over the host's root
# file system, mounts what a running system has, and hands over to agent.sh there. It says only what goes wrong.

die() { echo "podbox-vm: $1" >/dev/console; sleep 1; echo c >/proc/sysrq-trigger; }

/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev

while read -r module; do
    insmod "/mods/$module" || echo "podbox-vm: cannot load $module" >/dev/console
done </mods/order

mount -t 9p -o trans=virtio,version=9p2000.L,cache=loose,msize=512000,ro host /host || die "cannot mount the host's root"
mount -t tmpfs rw /rw
mkdir /rw/upper /rw/work
mount -t overlay -o lowerdir=/host,upperdir=/rw/upper,workdir=/rw/work root /new || die "cannot mount the overlay"

# The job directory lies in the host's own temporary directory; the tmpfs mounted below hides it only in /new.
for word in $(cat /proc/cmdline); do
    case $word in podbox.job=*) job=/host${word#podbox.job=} ;; esac
done
. "$job/job" || die "cannot read the job"

cd /new
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t devtmpfs dev dev
mkdir -p dev/shm dev/pts dev/mqueue
mount -t tmpfs -o mode=1777 shm dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts dev/pts
mount -t mqueue mqueue dev/mqueue
mount -t securityfs security sys/kernel/security
mount -t debugfs debug sys/kernel/debug
mount -t tracefs tracing sys/kernel/tracing
mount -t bpf bpf sys/fs/bpf
mount -t cgroup2 cgroup2 sys/fs/cgroup || die "cannot mount cgroup2"
for controller in $(cat sys/fs/cgroup/cgroup.controllers); do
    echo "+$controller" >sys/fs/cgroup/cgroup.subtree_control
done

# An overlay can't be the upper layer of another: what must carry such layers, or must start empty, is a tmpfs.
for dir in run tmp var/lib/podbox var/log/pods; do
    mkdir -p "$dir"
    mount -t tmpfs -o mode=0755 tmpfs "$dir"
done
chmod 1777 tmp
mkdir -p run/lock run/podbox-vm

# A checkout below one of those is put back.
case $workspace in /tmp/* | /run/*)
    mkdir -p "/new$workspace" /rw/checkout /rw/checkout-work
    mount -t overlay -o "lowerdir=/host$workspace,upperdir=/rw/checkout,workdir=/rw/checkout-work" checkout "/new$workspace" ;;
esac

# modprobe, and the kernel's own requests for modules, find the guest's.
release=$(uname -r)
mkdir -p "lib/modules/$release"
mount -o bind "/host$kernel/lib/modules/$release" "lib/modules/$release" || echo "podbox-vm: no modules" >/dev/console

mkdir -p "/new$out"
mount -t 9p -o trans=virtio,version=9p2000.L,cache=none,msize=512000 out "/new$out" || die "cannot mount $out"

hostname podbox-vm
ip link set lo up
cp /bin/busybox /agent.sh "$job/job" "$job/command" run/podbox-vm/
exec switch_root /new /run/podbox-vm/busybox sh /run/podbox-vm/agent.sh
die "cannot switch to the new root"
