// Blocks, barriers and what can go wrong with them.
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "fiber.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace cuda_on_host {

namespace {

// What a thread waits for.
struct Wait {
  const char* name = nullptr;  // of the function that waits, or null if the thread is ready
  Site site = {};
  bool whole_block = true;
  unsigned int mask = 0;  // of the lanes that it waits for, if not the whole block
  int width = 0;
  uint64_t value = 0;  // what this lane comes with
  int source = 0;      // the lane whose value it asks for, negative for all
};

struct Thread {
  uint3 index = {};
  int lane = 0;
  bool finished = false;
  Wait wait;
  uint64_t result = 0;
};

// One block at a time: the fibers and threads are used again by the next.
std::vector<std::unique_ptr<Fiber>> fibers;
std::vector<Thread> threads;
std::size_t current = 0;  // the running thread
unsigned char* shared = nullptr;
std::string failure;  // what the last failed launch says

cudaError_t last_error = cudaSuccess;

bool same_call(const Wait& a, const Wait& b) {
  return a.name == b.name && a.site.line == b.site.line && std::strcmp(a.site.file, b.site.file) == 0 &&
         a.whole_block == b.whole_block && a.mask == b.mask && a.width == b.width;
}

void wait() { fibers[current]->pause(); }

std::string text(const uint3& index) {
  return "(" + std::to_string(index.x) + ", " + std::to_string(index.y) + ", " + std::to_string(index.z) +
         ")";
}

std::string text(const Wait& wait) {
  char lanes[48] = "";
  if (!wait.whole_block) std::snprintf(lanes, sizeof lanes, ", mask %08x, width %d", wait.mask, wait.width);
  const char* slash = std::strrchr(wait.site.file, '/');
  return std::string(wait.name) + " (" + (slash ? slash + 1 : wait.site.file) + ":" +
         std::to_string(wait.site.line) + lanes + ")";
}

// Who waits where, one thread for each place.
std::string stuck() {
  std::string message = "the threads of block " + text(blockIdx) + " wait for each other:";
  std::vector<std::string> seen;
  for (const Thread& thread : threads) {
    const std::string state = thread.finished ? "has returned" : "is at " + text(thread.wait);
    if (std::find(seen.begin(), seen.end(), state) != seen.end()) continue;
    message += (seen.empty() ? " thread " : ", thread ") + text(thread.index) + " " + state;
    seen.push_back(state);
  }
  return message;
}

bool block_has_arrived() {
  const Wait& first = threads[0].wait;
  return std::all_of(threads.begin(), threads.end(), [&](const Thread& thread) {
    return !thread.finished && thread.wait.name && thread.wait.whole_block && same_call(thread.wait, first);
  });
}

// The first of a thread's warp, and how many it has.
struct Warp {
  Thread* first;
  int size;

  // Whether all lanes that the wait names are at the same call.
  bool has_arrived(const Wait& wait) const {
    for (int lane = 0; lane < 32; ++lane) {
      if (!(wait.mask >> lane & 1u)) continue;
      if (lane >= size || first[lane].finished || !first[lane].wait.name) return false;
      if (!same_call(first[lane].wait, wait)) return false;
    }
    return true;
  }
};

// Why a warp's call means nothing, or an empty text.
std::string objection(const Thread& thread) {
  const Wait& wait = thread.wait;
  const std::string who =
      "thread " + text(thread.index) + " of block " + text(blockIdx) + " at " + text(wait);
  if (!(wait.mask >> thread.lane & 1u)) return who + " is not named by the mask itself";
  if (wait.width < 1 || wait.width > 32 || (wait.width & (wait.width - 1))) {
    return who + " has width " + std::to_string(wait.width) + ", which is no power of two up to 32";
  }
  if (wait.source >= 0 && !(wait.mask >> wait.source & 1u)) {
    return who + " reads lane " + std::to_string(wait.source) + ", which the mask does not name";
  }
  return "";
}

// Hands the values around and lets the lanes go on.
void exchange_values(const Warp& warp, unsigned int mask) {
  uint64_t ballot = 0;
  for (int lane = 0; lane < warp.size; ++lane) {
    if (mask >> lane & 1u && warp.first[lane].wait.value) ballot |= uint64_t{1} << lane;
  }
  for (int lane = 0; lane < warp.size; ++lane) {
    if (!(mask >> lane & 1u)) continue;
    Thread& thread = warp.first[lane];
    const int source = thread.wait.source;
    thread.result = source < 0 ? ballot : warp.first[source].wait.value;
  }
  for (int lane = 0; lane < warp.size; ++lane) {
    if (mask >> lane & 1u) warp.first[lane].wait.name = nullptr;
  }
}

// Lets every barrier pass that all its threads have reached. False if that is none, or a call means nothing;
// `failure` then says why.
bool release() {
  if (block_has_arrived()) {
    for (Thread& thread : threads) thread.wait.name = nullptr;
    return true;
  }
  bool released = false;
  for (std::size_t begin = 0; begin < threads.size(); begin += 32) {
    const Warp warp = {&threads[begin], static_cast<int>(std::min<std::size_t>(32, threads.size() - begin))};
    for (int lane = 0; lane < warp.size; ++lane) {
      const Wait wait = warp.first[lane].wait;
      if (warp.first[lane].finished || !wait.name || wait.whole_block) continue;
      failure = objection(warp.first[lane]);
      if (!failure.empty()) return false;
      if (!warp.has_arrived(wait)) continue;
      exchange_values(warp, wait.mask);
      released = true;
    }
  }
  if (!released) failure = stuck();
  return released;
}

void run_thread(std::size_t number) {
  Thread& thread = threads[number];
  current = number;
  threadIdx = thread.index;
  thread.finished = fibers[number]->resume();
}

struct Body {
  void (*thread)(const void*);
  const void* context;
};

void call_body(void* argument) {
  const Body& body = *static_cast<const Body*>(argument);
  body.thread(body.context);
}

// Runs one block. Threads take turns forwards, then backwards after the next barrier, and the other way round
// in the next block: what only works in one order is a race.
bool run_block(const Body& body, bool backwards) {
  const std::size_t count = threads.size();
  for (std::size_t i = 0; i < count; ++i) {
    Thread& thread = threads[i];
    thread = Thread();
    thread.index.x = static_cast<unsigned int>(i % blockDim.x);
    thread.index.y = static_cast<unsigned int>(i / blockDim.x % blockDim.y);
    thread.index.z = static_cast<unsigned int>(i / blockDim.x / blockDim.y);
    thread.lane = static_cast<int>(i % 32);
    fibers[i]->start(call_body, const_cast<Body*>(&body));
  }
  for (;; backwards = !backwards) {
    bool any_left = false;
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t number = backwards ? count - 1 - i : i;
      if (!threads[number].finished && !threads[number].wait.name) run_thread(number);
      any_left = any_left || !threads[number].finished;
    }
    if (!any_left) return true;
    if (!release()) return false;
  }
}

// The limits of every GPU that the kernels are compiled for.
bool is_valid(const cudaLaunchConfig_t& config) {
  const dim3 grid = config.gridDim, block = config.blockDim;
  return grid.x >= 1 && grid.y >= 1 && grid.z >= 1 && grid.x <= 0x7fffffffu && grid.y <= 65535 &&
         grid.z <= 65535 && block.x >= 1 && block.y >= 1 && block.z >= 1 && block.x <= 1024 &&
         block.y <= 1024 && block.z <= 64 && uint64_t{block.x} * block.y * block.z <= 1024;
}

constexpr std::size_t kMostSharedBytes = 48 * 1024;

cudaError_t run(const cudaLaunchConfig_t& config, const Body& body) {
  if (!is_valid(config)) return cudaErrorInvalidConfiguration;
  if (config.dynamicSmemBytes > kMostSharedBytes) return cudaErrorInvalidValue;
  gridDim = config.gridDim;
  blockDim = config.blockDim;
  threads.resize(std::size_t{blockDim.x} * blockDim.y * blockDim.z);
  while (fibers.size() < threads.size()) fibers.push_back(std::make_unique<Fiber>());
  uint64_t number = 0;
  for (blockIdx.z = 0; blockIdx.z < gridDim.z; ++blockIdx.z) {
    for (blockIdx.y = 0; blockIdx.y < gridDim.y; ++blockIdx.y) {
      for (blockIdx.x = 0; blockIdx.x < gridDim.x; ++blockIdx.x, ++number) {
        // Of exactly that size, and full of NaNs.
        const std::unique_ptr<unsigned char[]> memory(new unsigned char[config.dynamicSmemBytes]);
        std::memset(memory.get(), 0xff, config.dynamicSmemBytes);
        shared = memory.get();
        if (!run_block(body, number % 2 == 1)) return cudaErrorLaunchFailure;
      }
    }
  }
  return cudaSuccess;
}

}  // namespace

cudaError_t run_grid(const cudaLaunchConfig_t& config, void (*thread)(const void*), const void* context) {
  static std::mutex one_at_a_time;
  const std::lock_guard<std::mutex> lock(one_at_a_time);
  const cudaError_t error = run(config, {thread, context});
  if (error != cudaSuccess) last_error = error;
  return error;
}

void* shared_memory() { return shared; }

int lane() { return threads[current].lane; }

void wait_for_block(const char* name, Site site) {
  threads[current].wait = {name, site, true, 0, 0, 0, 0};
  wait();
}

uint64_t exchange(const char* name, Site site, unsigned int mask, int width, uint64_t value, int source) {
  threads[current].wait = {name, site, false, mask, width, value, source};
  wait();
  return threads[current].result;
}

}  // namespace cuda_on_host

cudaError_t cudaGetLastError() { return std::exchange(cuda_on_host::last_error, cudaSuccess); }

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    case cudaErrorLaunchFailure:
      return cuda_on_host::failure.c_str();
  }
  return "unrecognized error code";
}
