"""System call numbers as `name:x86_64:aarch64`, from the kernel's headers. Data, nothing else.

The x86_64 column is checked by the escape suite. The other one was never run on an aarch64 machine:
its numbers are compared with the kernel's headers, and the filter made of them with the expected
rules.
"""

from __future__ import annotations

import errno
from functools import cache

MACHINES = ("x86_64", "aarch64")

DENIED = """
    _sysctl:156:- accept:43:202 accept4:288:242 acct:163:89 add_key:248:217 adjtimex:159:171
    bind:49:200 bpf:321:280 cachestat:451:451 chmod:90:- chown:92:- chroot:161:51
    clock_adjtime:305:266 clock_settime:227:112 connect:42:203 delete_module:176:106
    fanotify_init:300:262 fchmod:91:52 fchmodat:268:53 fchmodat2:452:452 fchown:93:55
    fchownat:260:54 finit_module:313:273 fremovexattr:199:16 fsconfig:431:431 fsetxattr:190:7
    fsmount:432:432 fsopen:430:430 fspick:433:433 futimesat:261:- init_module:175:105
    inotify_add_watch:254:27 inotify_init:253:- inotify_init1:294:26 io_uring_enter:426:426
    io_uring_register:427:427 io_uring_setup:425:425 ioperm:173:- iopl:172:- kcmp:312:272
    kexec_file_load:320:294 kexec_load:246:104 keyctl:250:219 lchown:94:- listen:50:201
    listmount:458:458 lookup_dcookie:212:18 lremovexattr:198:15 lsetxattr:189:6
    lsm_set_self_attr:460:460 mbind:237:235 memfd_create:319:279 memfd_secret:447:447
    migrate_pages:256:238 mknod:133:- mknodat:259:33 modify_ldt:154:- mount:165:40
    mount_setattr:442:442 move_mount:429:429 move_pages:279:239 mq_open:240:180 msgget:68:186
    name_to_handle_at:303:264 nfsservctl:180:42 open_by_handle_at:304:265 open_tree:428:428
    perf_event_open:298:241 personality:135:92 pidfd_getfd:438:438 pidfd_open:434:434
    pidfd_send_signal:424:424 pivot_root:155:41 process_madvise:440:440 process_vm_readv:310:270
    process_vm_writev:311:271 ptrace:101:117 quotactl:179:60 quotactl_fd:443:443 reboot:169:142
    removexattr:197:14 removexattrat:466:466 request_key:249:218 sched_setaffinity:203:122
    sched_setattr:314:274 sched_setscheduler:144:119 semget:64:190 set_mempolicy:238:237
    setdomainname:171:162 setfsgid:123:152 setfsuid:122:151 setgid:106:144 setgroups:116:159
    sethostname:170:161 setns:308:268 setpriority:141:140 setregid:114:143 setresgid:119:149
    setresuid:117:147 setreuid:113:145 setrlimit:160:164 settimeofday:164:170 setuid:105:146
    setxattr:188:5 setxattrat:463:463 shmat:30:196 shmctl:31:195 shmget:29:194 socket:41:198
    statmount:457:457 swapoff:168:225 swapon:167:224 sysfs:139:- syslog:103:116 truncate:76:45
    rt_sigqueueinfo:129:138 rt_tgsigqueueinfo:297:240 ioprio_set:251:30 sched_setparam:142:118
    msgsnd:69:189 msgrcv:70:188 msgctl:71:187 semop:65:193 semctl:66:191 semtimedop:220:192
    mq_unlink:241:181 process_mrelease:448:448 set_mempolicy_home_node:450:450
    io_setup:206:0 timer_create:222:107 sync:162:81 syncfs:306:267
    umount2:166:39 unshare:272:97 uselib:134:- userfaultfd:323:282 ustat:136:- utime:132:-
    utimensat:280:88 utimes:235:- vhangup:153:58
"""
"""Always refused: namespaces, sockets, other processes, metadata, kernel interfaces, resources
shared by the whole machine (asynchronous I/O contexts, timers, the disks' queues)."""

PATHS = """
    open:2:- openat:257:56 openat2:437:437 creat:85:- stat:4:- lstat:6:- access:21:-
    faccessat:269:48 faccessat2:439:439 newfstatat:262:79 statx:332:291 readlink:89:-
    readlinkat:267:78 chdir:80:49 getdents:78:- getdents64:217:61 rename:82:- renameat:264:38
    renameat2:316:276 mkdir:83:- mkdirat:258:34 rmdir:84:- link:86:- linkat:265:37 unlink:87:-
    unlinkat:263:35 symlink:88:- symlinkat:266:36 statfs:137:43
"""
"""Every call that takes a path: refused where nothing else blocks files (tier C)."""

SPECIAL = """
    kill:62:129 tkill:200:130 tgkill:234:131 fork:57:- vfork:58:- clone:56:220 clone3:435:435
    execve:59:221 execveat:322:281 prlimit64:302:261 prctl:157:167 seccomp:317:277
    fcntl:72:25 ioctl:16:29 socketpair:53:199
    landlock_create_ruleset:444:444 landlock_add_rule:445:445 landlock_restrict_self:446:446
"""
"""Refused depending on their arguments, or needed to set up the confinement."""

NEWEST = 466
"""Calls above this number are refused as unknown: later kernels' calls are not allowed yet."""


@cache
def numbers(table: str, machine: str) -> dict[str, int]:
    """Return name -> number on `machine` (`platform.machine()`); names it lacks are left out.

    Raises OSError where there is no table for it.
    """
    if machine not in MACHINES:
        raise OSError(
            errno.ENOSYS,
            f"no system call table for {machine} (there is one for {', '.join(MACHINES)})",
        )
    column = 1 + MACHINES.index(machine)
    rows = [entry.split(":") for entry in table.split()]
    return {row[0]: int(row[column]) for row in rows if row[column] != "-"}
