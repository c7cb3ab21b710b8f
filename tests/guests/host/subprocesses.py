"""Python's subprocess and multiprocessing (fork and spawn) on one page."""

import hashlib
import multiprocessing
import os
import subprocess
import sys


def square(x: int) -> int:
    return x * x + (os.getpid() > 0)


def main() -> None:
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    digest = hashlib.sha256()
    for step in range(steps):
        out = subprocess.run(
            [sys.executable, "-c", "import sys; print(sum(map(int, sys.stdin)))"],
            input="\n".join(str(i) for i in range(100 + step)),
            capture_output=True,
            text=True,
            check=True,
        )
        digest.update(out.stdout.encode())
        text = subprocess.check_output("echo $((6 * 7)) | cat; false || echo else", shell=True)
        digest.update(text)
        for method in ("fork", "spawn"):
            with multiprocessing.get_context(method).Pool(2) as pool:
                digest.update(str(pool.map(square, range(step, step + 20))).encode())
        print(f"step {step} of {steps}", flush=True)
    print("digest", digest.hexdigest()[:16])


if __name__ == "__main__":
    main()
