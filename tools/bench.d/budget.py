"""A processor budget for some processes: so much of a core and no more, as on a machine that has no more.

By the control groups of the kernel, version 2 (`cpu.max`) or 1 (`cpu.cfs_quota_us`), whichever has the machine's cpu controller.
"""

import os
import subprocess
from pathlib import Path

SHARE, OF_A_CORE = 0.1, "a tenth of a core"
# Short, so that whoever has used up its share waits no longer than packets can.
PERIOD_US = 10_000

# Waits until its input ends, which it does with the bench, however that ends; then the group's processes end, and the group.
SWEEP = """
cat > /dev/null
for try in 1 2 3 4 5 6 7 8 9 10; do
  [ -d "$1" ] || exit 0
  while read -r pid; do kill -9 "$pid"; done < "$1/cgroup.procs"
  rmdir "$1" 2> /dev/null && exit 0
  sleep 0.1
done
"""


def with_budgets(contenders, folder, target, measure, quick):
    """Samples of each contender's figures, measured with a budget; none where the machine has no budgets."""
    samples = {name: [] for name in contenders}
    for repeat in range(1 if quick else 3):
        for name, contender in contenders.items():
            print(f"run {repeat + 1} with {OF_A_CORE}: {name}", flush=True)
            place = folder / f"limited-{name}-{repeat}".replace(", ", "-").replace(" ", "-")
            place.mkdir()
            try:
                with Budget(f"l2bench{os.getpid()}-balancer", SHARE) as budget, contender(place, target, budget):
                    samples[name].append(measure(2 if quick else 4, budget))
            except Missing as error:
                print(f"left out: {OF_A_CORE} for the balancer, as there are no such budgets: {error}\n")
                return {}
    return samples


class Missing(Exception):
    """This machine has no processor budgets."""


class Budget:
    """A control group with a share of one core. Removed at the end, also when this process is killed."""

    def __init__(self, name, share):
        self.root, self.version = controller()
        self.group = self.root / name
        self.share = share

    def __enter__(self):
        try:
            self.group.mkdir()
        except OSError as error:
            raise Missing(f"{self.group}: {error.strerror}") from error
        words = ["/bin/sh", "-c", SWEEP, "sh", str(self.group)]
        self.sweeper = subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            quota = int(PERIOD_US * self.share)
            # Within its budget it does not wait for the client and the servers.
            if self.version == 2:
                self.write("cpu.max", f"{quota} {PERIOD_US}")
                self.write("cpu.weight", 10_000)
            else:
                self.write("cpu.cfs_period_us", PERIOD_US)
                self.write("cpu.cfs_quota_us", quota)
                self.write("cpu.shares", 262_144)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.sweeper.stdin.close()
        self.sweeper.wait()

    def join(self):
        """Puts the calling process into the group: for the time between fork and exec."""
        (self.group / "cgroup.procs").write_text("0")

    def periods(self):
        """How many periods there were in which processes ran, and in how many of them the budget was used up."""
        lines = (self.group / "cpu.stat").read_text().splitlines()
        values = dict(line.split() for line in lines)
        return int(values["nr_periods"]), int(values["nr_throttled"])

    def write(self, name, value):
        try:
            (self.group / name).write_text(f"{value}\n")
        except OSError as error:
            raise Missing(f"{self.group / name}: {error.strerror}") from error


def controller():
    """Where the machine's groups with the cpu controller are, and of which version."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        where = Path(where)
        if kind == "cgroup2" and "cpu" in (where / "cgroup.subtree_control").read_text().split():
            return where, 2
        if kind == "cgroup" and "cpu" in options.split(",") and (where / "cpu.cfs_quota_us").exists():
            return where, 1
    raise Missing("no control groups with a cpu controller are mounted")


def machine_time():
    """Seconds that all cores have worked, for whomever: user, nice, system, irq, softirq of proc_stat(5)."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    user, nice, system, _idle, _iowait, irq, softirq, *_ = fields
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
