import subprocess
import sys
from pathlib import Path

from fabpilot.instance import instance_name

HOLD = """
import sys
from pathlib import Path
from fabpilot.instance import instance_name
with instance_name(Path(sys.argv[1]), "r") as name:
    print(name, flush=True)
    sys.stdin.read()
"""


def test_each_living_process_has_a_name_of_its_own_and_the_next_takes_a_free_one(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        theirs = process.stdout.readline().strip()
        with instance_name(tmp_path, "r") as ours, instance_name(tmp_path, "other") as other:
            assert ours != theirs
            assert other == theirs  # another role counts for itself
        process.kill()
        process.wait()
    # However it ended, its name is free again.
    with instance_name(tmp_path, "r") as again:
        assert again == theirs
