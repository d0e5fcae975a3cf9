#include "fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#if !defined(__x86_64__)
#error \
    "The host build of the CUDA kernels switches stacks in x86-64 assembly; it has no version for this processor."
#endif

namespace cuda_on_host {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kStack = 128 * 1024;

// Saves the callee's registers of the System V ABI on the running stack and its pointer in *save, then
// continues on the stack that was saved as `load`. swapcontext would do, but it enters the kernel twice per
// switch, and AddressSanitizer forgets the stack's poisoned memory at each.
extern "C" void cuda_on_host_switch_stack(void** save, void* load);
asm(R"(
    .text
    .p2align 4
    .globl cuda_on_host_switch_stack
    .hidden cuda_on_host_switch_stack
    .type cuda_on_host_switch_stack, @function
cuda_on_host_switch_stack:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size cuda_on_host_switch_stack, .-cuda_on_host_switch_stack
)");

static Fiber* running = nullptr;

// AddressSanitizer is told of every switch: which stack comes, and afterwards which one was left.

static void before_switch([[maybe_unused]] void** fake_stack, [[maybe_unused]] const void* bottom,
                          [[maybe_unused]] std::size_t size) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(fake_stack, bottom, size);
#endif
}

static void after_switch([[maybe_unused]] void* fake_stack, [[maybe_unused]] const void** bottom,
                         [[maybe_unused]] std::size_t* size) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake_stack, bottom, size);
#endif
}

Fiber::Fiber() {
  void* memory = mmap(nullptr, kPage + kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED || mprotect(memory, kPage, PROT_NONE) != 0) throw std::bad_alloc();
  memory_ = static_cast<char*>(memory);
}

Fiber::~Fiber() { munmap(memory_, kPage + kStack); }

// The first thing that runs on a new stack; nothing to return to.
void enter_fiber() {
  Fiber* self = running;
  after_switch(nullptr, &self->caller_bottom_, &self->caller_size_);
  self->function_(self->argument_);
  self->finished_ = true;
  self->leave(true);
}

void Fiber::start(void (*function)(void*), void* argument) {
#if defined(__SANITIZE_ADDRESS__)
  // An unfinished function has left its variables' surroundings poisoned.
  if (!finished_) __asan_unpoison_memory_region(memory_ + kPage, kStack);
#endif
  function_ = function;
  argument_ = argument;
  finished_ = false;
  fake_stack_ = nullptr;
  // What switch_stack takes off: six registers, then the address that it returns to. That leaves the stack as
  // after a call, 8 bytes below a multiple of 16.
  void** top = reinterpret_cast<void**>(memory_ + kPage + kStack);
  *--top = nullptr;
  *--top = reinterpret_cast<void*>(&enter_fiber);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  stack_pointer_ = top;
}

bool Fiber::resume() {
  running = this;
  void* fake_stack = nullptr;
  before_switch(&fake_stack, memory_ + kPage, kStack);
  cuda_on_host_switch_stack(&caller_stack_pointer_, stack_pointer_);
  after_switch(fake_stack, nullptr, nullptr);
  return finished_;
}

void Fiber::pause() { leave(false); }

void Fiber::leave(bool for_good) {
  before_switch(for_good ? nullptr : &fake_stack_, caller_bottom_, caller_size_);
  cuda_on_host_switch_stack(&stack_pointer_, caller_stack_pointer_);
  after_switch(fake_stack_, &caller_bottom_, &caller_size_);
}

}  // namespace cuda_on_host
