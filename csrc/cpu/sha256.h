// SHA-256 (FIPS 180-4) of many rows of the same length, by the processor's own instructions.
#pragma once

#include <cstdint>

namespace dimvida::cpu {

inline constexpr int kDigestBytes = 32;

// Whether this processor has the instructions.
bool has_sha256();

// The digests of rows of so many bytes, one behind the other; only where has_sha256().
void sha256_rows(const uint8_t* data, int64_t rows, int64_t bytes, uint8_t* digests);

}  // namespace dimvida::cpu
