"""Python with numpy (OpenBLAS's threads included), threads, queues and a lock."""

import hashlib
import queue
import sys
import threading
import time

import numpy as np

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 120
jobs: "queue.Queue[int | None]" = queue.Queue(maxsize=8)
results: "dict[int, str]" = {}
lock = threading.Lock()


def work() -> None:
    while (job := jobs.get()) is not None:
        # Integers in float64: exact whatever the order of the sums.
        rng = np.random.default_rng(job)
        a = rng.integers(-50, 50, (96, 96)).astype(np.float64)
        b = rng.integers(-50, 50, (96, 96)).astype(np.float64)
        c = a @ b
        assert np.array_equal(c, np.einsum("ij,jk->ik", a.astype(np.int64), b.astype(np.int64)))
        order = np.argsort(c, axis=None, kind="stable")
        text = hashlib.sha256(c.tobytes() + order.tobytes()).hexdigest()
        with lock:
            results[job] = text


threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads:
    thread.start()
state = np.zeros(4096, dtype=np.uint64)
for step in range(steps):
    jobs.put(step)
    state = state * np.uint64(6364136223846793005) + np.arange(4096, dtype=np.uint64)
    begin = time.monotonic()
    time.sleep(0.001)
    assert time.monotonic() - begin >= 0.001
    if step % max(steps // 20, 1) == 0:
        print(f"step {step} of {steps}", flush=True)
for _ in threads:
    jobs.put(None)
for thread in threads:
    thread.join()
assert len(results) == steps
digest = hashlib.sha256(state.tobytes())
for job in range(steps):
    digest.update(results[job].encode())
print("digest", digest.hexdigest()[:16])
