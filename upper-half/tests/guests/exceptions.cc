// Exceptions in threads: the unwinder works in the window.
#include <atomic>
#include <cstdio>
#include <stdexcept>
#include <thread>
#include <vector>

static std::atomic<int> caught;

static void deep(int depth)
{
	if (depth == 0)
		throw std::runtime_error("deep");
	deep(depth - 1);
}

int main()
{
	std::vector<std::thread> threads;
	for (int i = 0; i < 4; i++)
		threads.emplace_back([] {
			for (int k = 0; k < 3000; k++) {
				try {
					deep(k % 20);
				} catch (const std::exception &) {
					caught++;
				}
			}
		});
	for (auto &thread : threads)
		thread.join();
	std::printf("caught %d\n", caught.load());
	return caught != 12000;
}
