# Runs inside the machine, as root, under systemd: one line a check, "ok NAME" or "not ok NAME: found", at the end "done".
exec >/dev/ttyS1 2>&1
export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
is() { # name, expected, command...
    name=$1 expected=$2
    shift 2
    found=$("$@" 2>&1)
    if [ "$found" = "$expected" ]; then echo "ok $name"; else echo "not ok $name: ${found//$'\n'/ | }"; fi
}
has() { # name, pattern, command...
    name=$1 pattern=$2
    shift 2
    found=$("$@" 2>&1)
    if [[ $found == *$pattern* ]]; then echo "ok $name"; else echo "not ok $name: ${found//$'\n'/ | }"; fi
}
in_box() { havre run --rm --network none "$@"; }
limit() { # file of the container's own control group, flags of run...
    file=$1
    shift
    in_box "$@" box cat "/sys/fs/cgroup/$file"
}
pid_of() { havre inspect -f '{{.State.Pid}}' "$1"; }

is "control groups are v2" cgroup2fs stat -fc %T /sys/fs/cgroup
is "socket is there before the daemon" active systemctl is-active havred.socket
is "both are enabled" $'enabled\nenabled' systemctl is-enabled havred.socket havred.service
is "socket is the group's" "660 docker" stat -c '%a %G' /run/havre/havre.sock
has "hello-world answers" "Hello from Havre!" havre run --rm hello-world
is "service says when it is ready" "SubState=running" systemctl show -p SubState havred
tar -C /root/box -c . | havre import -c 'CMD ["sh"]' - box >/dev/null
has "havred says v2" "Cgroup Version: 2" havre info

havre run -d --name web -p 8080:80 box sh -c 'echo served >/tmp/index.html; exec httpd -f -p 80 -h /tmp' >/dev/null
first=$(pid_of web)
is "published port answers" served curl -s --retry 20 --retry-connrefused --retry-delay 1 localhost:8080
is "open files are the distribution's" "1024 524288" awk '/open files/ {print $4, $5}' "/proc/$first/limits"
is "the OOM killer sees it as any process" 0 cat "/proc/$first/oom_score_adj"
has "it is in a group of its own" "0::/havre-" cat "/proc/$first/cgroup"
systemctl restart havred
is "restart leaves it running" "$first" pid_of web
is "exec after the restart" still havre exec web echo still
systemctl stop havred
is "port answers without a daemon" served curl -s localhost:8080
is "the socket starts the daemon again" web havre ps --format '{{.Names}}'
systemctl daemon-reload
is "exec after systemd read its units again" still havre exec web echo still
mkdir -p /etc/havre
echo '{"labels": ["read=again"]}' >/etc/havre/daemon.json
systemctl reload havred
is "reload reads daemon.json" "[read=again]" havre info -f '{{.Labels}}'

is "memory" 33554432 limit memory.max --memory 32m
is "memory and swap" 33554432 limit memory.swap.max --memory 32m --memory-swap 64m
is "memory reservation" 16777216 limit memory.low --memory 32m --memory-reservation 16m
is "cpus" "50000 100000" limit cpu.max --cpus 0.5
is "cpu shares" 20 limit cpu.weight --cpu-shares 512
is "cpuset" 0 limit cpuset.cpus --cpuset-cpus 0
is "pids" 7 limit pids.max --pids-limit 7
is "io weight" "default 2930" limit io.weight --blkio-weight 300
has "io throttle" "rbps=1048576 wbps=max riops=max wiops=100" limit io.max --device-read-bps /dev/vda:1mb --device-write-iops /dev/vda:100
has "pids are really limited" "can't fork" in_box --pids-limit 5 box sh -c 'for n in 1 2 3 4 5 6 7 8; do sleep 5 & done'
has "cpu time is really limited" "throttled" in_box --cpus 0.2 box sh -c 'n=0; while [ $n -lt 3000 ]; do n=$((n+1)); done; grep -v "nr_throttled 0" /sys/fs/cgroup/cpu.stat'
havre run --network none --name hog --memory 32m --memory-swap 32m box sh -c 'x=$(head -c 100m /dev/zero | tr "\0" x)' >/dev/null 2>&1
is "memory is really limited, and said so" "true 137" havre inspect -f '{{.State.OOMKilled}} {{.State.ExitCode}}' hog
has "a device of the list" 1 in_box box sh -c 'mknod /tmp/full c 1 7 && head -c 1 /tmp/full | wc -c'
has "no other device" "not permitted" in_box box sh -c 'mknod /tmp/mem c 1 1 && head -c 1 /tmp/mem'
has "a device to read" "not permitted" in_box --device /dev/vda:/dev/it:r box sh -c 'head -c 4 /dev/it >/dev/null && echo 1 >/dev/it'
is "a privileged container has them all" 4 in_box --privileged box sh -c 'head -c 4 /dev/vda | wc -c'
havre pause web >/dev/null
has "pause freezes" "frozen 1" sh -c "cat /sys/fs/cgroup/havre-*/$(havre inspect -f '{{.Id}}' web)/cgroup.events"
havre unpause web >/dev/null
is "unpause thaws" still havre exec web echo still
havre update --memory 64m --memory-swap 64m --cpus 0.3 --pids-limit 50 web >/dev/null
is "update is live" $'67108864\n30000 100000\n50' havre exec web sh -c 'cd /sys/fs/cgroup && cat memory.max cpu.max pids.max'
is "image of many layers" 90 in_box layered sh -c 'ls /layers | wc -l'
useradd ann && usermod -aG docker ann
is "a member of the group" 0 su ann -c 'havre exec web id -u'

has "uninstall refuses while one runs" "havre stop" sh /root/havre/install.sh --uninstall
havre stop -t 1 web >/dev/null
has "uninstall" "removed" sh /root/havre/install.sh --uninstall
is "no table stays" "" nft list tables
is "no group stays" "" find /sys/fs/cgroup -name '*havre*'
is "no interface stays" "" sh -c 'ip -o link | grep -E "docker|veth|br-"'
is "no file stays" "" find /opt /usr/local/bin /usr/local/share /etc/systemd/system -name '*havre*'
journalctl -u havred --no-pager | grep -E 'warn|error' | sed 's/^/log: /'
echo "done"
sync
