# Process 1 of the virtual machine once its root is in place: runs the command and tells the host how it went. One
# virtio port carries standard output, one standard error, one the conversation with the host:
#   guest: "ready", "beat" every two seconds, "exit STATUS"      host: "signal NAME"
# Each of the first two ends with a mark, so that the host knows that it has seen everything.

here=/run/podbox-vm
bb=$here/busybox
. $here/job
$bb mount --make-rshared /

port() { # its device; the kernel announces ports a moment after the driver is loaded
    tries=0
    while [ $tries -lt 100 ]; do
        for name in /sys/class/virtio-ports/*/name; do
            if [ "$($bb cat "$name" 2>/dev/null)" = "$1" ]; then
                name=${name%/name}
                echo "/dev/${name##*/}"
                return
            fi
        done
        tries=$((tries + 1))
        $bb sleep 0.1
    done
    echo "podbox-vm: no port $1" >/dev/console
    echo c >/proc/sysrq-trigger
}

# A port can be opened only once: its descriptor is handed on, and the command writes to a FIFO that it may reopen.
exec 3<>"$(port podbox.control)" 4>"$(port podbox.stdout)" 5>"$(port podbox.stderr)" 6</dev/null
$bb mkfifo $here/stdout $here/stderr
$bb cat $here/stdout >&4 3<&- 5<&- & cat_out=$!
$bb cat $here/stderr >&5 3<&- 4<&- & cat_err=$!

echo ready >&3
while :; do echo beat; $bb sleep 2; done >&3 4<&- 5<&- &

ulimit -Hn 524288
# The host's own shell, since busybox's prefers its applets to the programs on PATH; and a shell's background jobs ignore
# SIGINT unless told otherwise, which is to end the command.
/usr/bin/env --default-signal=INT,QUIT $bb setsid /bin/sh $here/command <&6 >$here/stdout 2>$here/stderr 3<&- 4<&- 5<&- 6<&- & command=$!
while read -r verb name; do
    [ "$verb" = signal ] && $bb kill "-$name" "-$command"
done <&3 4<&- 5<&- 2>/dev/null &

wait $command
status=$?

# What the command has left running may keep the FIFOs open: what was written until now still arrives.
tries=0
while [ $tries -lt 20 ] && { [ -e /proc/$cat_out/exe ] || [ -e /proc/$cat_err/exe ]; }; do
    tries=$((tries + 1))
    $bb sleep 0.05
done
$bb sync
echo "$mark" >&4
echo "$mark" >&5
echo "exit $status" >&3
while :; do $bb sleep 1000; done
