// Functions with stacks of their own, between which one thread of the machine switches.
#pragma once

#include <cstddef>

namespace cuda_on_host {

class Fiber {
 public:
  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Gives it function(argument) to run. What it ran before is forgotten, finished or not.
  void start(void (*function)(void*), void* argument);

  // Runs it until it pauses or its function returns; then true if it returned. Not from within a fiber.
  bool resume();

  // Back to the caller of resume(). From within this fiber only.
  void pause();

 private:
  friend void enter_fiber();
  void leave(bool for_good);

  char* memory_;         // a page that faults, then the stack
  void* stack_pointer_;  // where to go on, while it does not run
  void* caller_stack_pointer_ = nullptr;
  void* fake_stack_ = nullptr;           // AddressSanitizer's
  const void* caller_bottom_ = nullptr;  // what it must know of the caller's stack
  std::size_t caller_size_ = 0;
  void (*function_)(void*) = nullptr;
  void* argument_ = nullptr;
  bool finished_ = true;
};

}  // namespace cuda_on_host
