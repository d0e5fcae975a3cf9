// PNG files of pictures of runs by zlib: dimvida.data.image_files.run_length_png, the same bytes.
#pragma once

#include <cstdint>
#include <vector>

namespace dimvida::cpu {

// The version of the zlib that makes them; its bytes may differ from another's.
const char* version_of_zlib();

// The files of uint8 [count, height, width, channels], of 1 channel (gray) or 3 (RGB), one behind the other, and the
// size of each. Throws std::runtime_error or std::bad_alloc.
std::vector<uint8_t> png_files(const uint8_t* pixels, int64_t count, int64_t height, int64_t width,
                               int64_t channels, std::vector<int64_t>& sizes);

}  // namespace dimvida::cpu
