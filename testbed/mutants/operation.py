"""Defects in the testbed itself: in what it removes, spares, repairs and tells.

Their scenarios run on private hosts, from a copy of the whole repository.
"""

from __future__ import annotations

from testbed.mutants.mutant import Mutant, Patch

_LOST = "resilience/test_faults.py::test_lost_part_is_told_and_repaired"
_SHORT = "resilience/test_shortages.py::test_shortage_is_told_and_mended"
_DOCKER = "resilience/test_shortages.py::test_what_docker_says_is_told_and_its_pace_is_kept"
_BESIDE = "resilience/test_neighbours.py::test_side_by_side_and_foreign_things"
_USERS = "resilience/test_neighbours.py::test_users_in_the_same_second"
_RUNS = "resilience/test_runs.py::test_killed_run_frees_its_tenants_and_is_cleaned_by_the_next"
_UNDO = "resilience/test_leases.py::test_next_test_finds_whole_what_could_not_be_undone"
_GAPS = (
    "operation/test_own_machine.py::test_up_tells_gaps_goes_on_and_does_all_when_they_are_mended"
)
_OWN = "operation/test_own_machine.py::test_machine_is_one_deployments_and_as_before_after_down"

_CLAIM = "testbed/lifecycle/claim.py"
_DOWN = "testbed/lifecycle/down.py"
_LINKS = "testbed/drivers/links.py"
_STORE = "testbed/drivers/store.py"
_CONTAINERS = "testbed/drivers/containers.py"
_STATUS = "testbed/lifecycle/status.py"
_SESSION = "testbed/lifecycle/session.py"
_VM = "testbed/sut/vm.py"

OPERATION = (
    Mutant(
        "ipam-driver-outlives",
        "`down` leaves the IPAM driver running",
        (f"{_LOST}[service killed]",),
        (Patch(_DOWN, "    _stop_all(set(process.owned(ipam_owner(deployment))))\n", ""),),
    ),
    Mutant(
        "tap-left",
        "`down` does not take the tap for ours",
        (f"{_LOST}[service killed]",),
        (Patch(_LINKS, r"(tap|t(\d{{5}}))", r"(pat|t(\d{{5}}))"),),
    ),
    Mutant(
        "mount-left",
        "the last `down` leaves the mount of /run/netns",
        (f"{_LOST}[service killed]",),
        (Patch(_DOWN, "            namespace.remove_mount()\n", ""),),
    ),
    Mutant(
        "look-alike-links",
        "`down` takes every link with its id for a tenant's",
        (_BESIDE,),
        (Patch(_LINKS, "is_ours = (indexes is None or", "is_ours = (True or"),),
    ),
    Mutant(
        "look-alike-routers",
        "`down` takes every namespace with its id for a tenant's",
        (_BESIDE,),
        (
            Patch(
                _LINKS,
                "if tenants is None or name.removeprefix(prefix) in tenants)",
                "if True)",
            ),
        ),
    ),
    Mutant(
        "daemon-of-others",
        "the Docker daemon is stopped while a deployment recorded elsewhere has links",
        (_USERS,),
        (Patch(_DOWN, "if is_free and not links.are_anybodys():", "if is_free:"),),
    ),
    Mutant(
        "router-unseen",
        "a router's interfaces are not looked at",
        (f"{_LOST}[uplink deleted]",),
        (Patch(_LINKS, "return {router.lan.name, router.uplink.name} <= present", "return True"),),
    ),
    Mutant(
        "container-of-another-link",
        "a container does not tell which tenant link it was made on",
        (f"{_LOST}[tenant link made anew]",),
        (Patch("testbed/lifecycle/tenants.py", "        link=link,\n", "        link=0,\n"),),
    ),
    Mutant(
        "service-unasked",
        "a service that runs counts as one that answers",
        (f"{_LOST}[service hung]",),
        (Patch(_STATUS, "return ask(client, tenant, container)", 'return ""'),),
    ),
    Mutant(
        "qemu-is-enough",
        "a SUT whose QEMU runs is used as it is",
        (f"{_LOST}[QEMU hung]",),
        (Patch(_VM, "if health.ok and found == mark:", "if self.is_running():"),),
    ),
    Mutant(
        "console-lost",
        "what the console of a dead kernel said is thrown away",
        (f"{_LOST}[SUT panicked]",),
        (
            Patch(
                "testbed/sut/machine.py",
                'path.replace(path.with_name(f"{path.name}.previous"))',
                "path.unlink()",
            ),
        ),
    ),
    Mutant(
        "full-disk-unsaid",
        "a build that had no room is told in the words of whoever had none",
        (f"{_SHORT}[no_room_for_a_snapshot]",),
        (Patch(_STORE, "if free > _FULL_BYTES:", "if True:"),),
    ),
    Mutant(
        "half-built-left",
        "what was built when the disk was full keeps it full",
        (f"{_SHORT}[no_room_for_a_snapshot]",),
        (
            Patch(
                _STORE,
                "        shutil.rmtree(partial, ignore_errors=True)\n        family",
                "        family",
            ),
        ),
    ),
    Mutant(
        "half-a-frame",
        "a capture that meets a full disk ends in the middle of a frame",
        (f"{_SHORT}[no_room_for_a_capture]",),
        (Patch("testbed/probe/stream.py", "        if written:", "        if False:"),),
    ),
    Mutant(
        "stopped-guest-unseen",
        "`status` does not ask QEMU whether the guest's processors stand",
        (f"{_SHORT}[no_room_for_the_guest]",),
        (Patch(_VM, "            self._require_processors()\n", ""),),
    ),
    Mutant(
        "killer-unseen",
        "the kernel's kills for want of memory are not counted",
        (f"{_SHORT}[no_memory_for_a_container]",),
        (Patch(_CONTAINERS, "if _killed_for_memory() > killed:", "if False:"),),
    ),
    Mutant(
        "refusal-unsaid",
        "what Docker says when it refuses is not passed on",
        (_DOCKER,),
        (
            Patch(
                "testbed/drivers/dockerd.py",
                'detail = getattr(error, "explanation", None) or str(error)',
                "detail = type(error).__name__",
            ),
        ),
    ),
    Mutant(
        "killed-run-owns",
        "a run that was killed still owns what it had started",
        (_RUNS,),
        (
            Patch(
                _SESSION,
                "return process.started_at(int(pid)) != int(started)",
                "return int(pid) == int(started)",
            ),
        ),
    ),
    Mutant(
        "fault-unnoted",
        "a fault is not noted before it is caused",
        (_UNDO,),
        (
            Patch(
                "testbed/faults/note.py",
                "    mark_changed(note.folder, tuple(new.tenants), whole=new.whole, why=note.what)\n",
                "",
            ),
        ),
    ),
    Mutant(
        "machine-left",
        "`down` takes nothing off a machine of the user's",
        (_OWN,),
        (Patch(_DOWN, "errors = [] if leave_sut else", "errors = [] if True else"),),
    ),
    Mutant(
        "machine-of-others",
        "a machine that has FIBs from somebody else is taken",
        (_GAPS,),
        (Patch(_CLAIM, 'if [ "$found" ]; then', "if false; then"),),
    ),
    Mutant(
        "machine-shared",
        "a machine that another deployment has is taken",
        (_OWN,),
        (Patch(_CLAIM, "    if holder == deployment.record.id:\n", "    if holder != '-':\n"),),
    ),
    Mutant(
        "uplink-shared",
        "two deployments have one interface of the user's",
        (_GAPS,),
        (Patch(_CLAIM, "if other.remote and other.uplink == deployment.uplink:", "if False:"),),
    ),
    Mutant(
        "settings-left",
        "`fibctl detach` does not put settings back",
        (_OWN,),
        (Patch("testbed/fib/apply.py", "        restore_sysctls(interface)\n", ""),),
    ),
)
