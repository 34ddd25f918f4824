#!/usr/bin/env bash
# A real Slurm on this machine alone, for tests: no systemd, no accounting; as root, on Debian or Ubuntu.
#
#   scripts/slurm_one_node.sh up       installs slurm-wlm and munge where they are missing, starts them
#   scripts/slurm_one_node.sh status   what runs
#   scripts/slurm_one_node.sh down     stops what `up` started
#
# Partitions `low` and `gpu` are preempted by `high` with REQUEUE, after the signal that a job asked for
# and a grace time of 10 s. Two GPUs without hardware (`Gres=gpu:2`, copies of /dev/null) are handed out as
# real ones are: jobs see their own in CUDA_VISIBLE_DEVICES. Everything but munge's key is kept in
# $SLURM_TEST_DIR; set SLURM_CONF=$SLURM_TEST_DIR/slurm.conf to talk to it. SLURM_TEST_CPUS and
# SLURM_TEST_MEMORY (MiB) say that the node has more than it has, for jobs that ask for much and use little.
set -euo pipefail
dir=${SLURM_TEST_DIR:-${TMPDIR:-/tmp}/slurm-one-node}
host=$(hostname -s)
export SLURM_CONF=$dir/slurm.conf

install_packages() {
  command -v slurmctld >/dev/null && command -v munged >/dev/null && return
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge >/dev/null
}

start_munge() {
  munge -n >/dev/null 2>&1 && return
  install -d -o munge -g munge -m 755 /run/munge
  if ! [ -s /etc/munge/munge.key ]; then
    dd if=/dev/urandom of=/etc/munge/munge.key bs=1024 count=1 status=none
    chown munge:munge /etc/munge/munge.key
    chmod 400 /etc/munge/munge.key
  fi
  setpriv --reuid=munge --regid=munge --clear-groups munged
  cp /run/munge/munged.pid "$dir/run/munged.pid"
  wait_for munge -n
}

wait_for() {
  for _ in $(seq 200); do
    "$@" >/dev/null 2>&1 && return
    sleep 0.1
  done
  echo "not up within 20 s: $*" >&2
  exit 1
}

write_configuration() {
  local memory
  for number in 0 1; do  # Slurm counts character devices alone; these are copies of /dev/null
    [ -e "$dir/gpu$number" ] || mknod "$dir/gpu$number" c 1 3
  done
  echo "NodeName=$host Name=gpu File=$dir/gpu[0-1]" > "$dir/gres.conf"
  memory=${SLURM_TEST_MEMORY:-$(awk '/MemTotal/ {print int($2 / 1024 * 0.8)}' /proc/meminfo)}
  cat > "$SLURM_CONF" <<CONF
ClusterName=one-node
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CryptoType=crypto/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=5,bf_interval=5
ReturnToService=2
SlurmctldPort=16817
SlurmdPort=16818
SlurmctldPidFile=$dir/run/slurmctld.pid
SlurmdPidFile=$dir/run/slurmd.pid
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd.log
SlurmctldTimeout=30
SlurmdTimeout=30
KillWait=5
MinJobAge=300
InactiveLimit=0
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/linux
GresTypes=gpu
${SLURM_TEST_CPUS:+SlurmdParameters=config_overrides}
NodeName=$host NodeAddr=127.0.0.1 CPUs=${SLURM_TEST_CPUS:-$(nproc)} RealMemory=$memory Gres=gpu:2 State=UNKNOWN
PartitionName=low Nodes=$host Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=10
PartitionName=gpu Nodes=$host MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=10
PartitionName=high Nodes=$host MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
CONF
}

is_idle() { sinfo --noheader --format=%T 2>/dev/null | grep -qE 'idle|mixed|allocated'; }
is_up() { scontrol ping 2>/dev/null | grep -q UP; }
runs() { [ -s "$dir/run/$1.pid" ] && kill -0 "$(cat "$dir/run/$1.pid")" 2>/dev/null; }

up() {
  install_packages
  mkdir -p "$dir"/{state,spool,log,run}
  start_munge
  write_configuration
  getent hosts "$host" >/dev/null || echo "127.0.0.1 $host" >> /etc/hosts
  runs slurmctld || slurmctld -f "$SLURM_CONF"
  wait_for is_up
  runs slurmd || slurmd -f "$SLURM_CONF"
  wait_for is_idle
  echo "export SLURM_CONF=$SLURM_CONF"
}

down() {
  # Jobs first: a daemon that is gone ends none.
  if is_up; then
    scancel --quiet --user="$(id -un)" || true
    for _ in $(seq 200); do
      [ -n "$(squeue --noheader 2>/dev/null)" ] || break
      sleep 0.1
    done
  fi
  for name in slurmd slurmctld munged; do
    ! runs "$name" || kill "$(cat "$dir/run/$name.pid")"
  done
}

case "${1:-}" in
  up) up ;;
  down) down ;;
  status) sinfo && squeue ;;
  *) sed -n '2,15s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
