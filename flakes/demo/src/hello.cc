// Says hello from a thread, with the version of the zlib it was linked to.
#include <iostream>
#include <string_view>
#include <thread>
#include <zlib.h>

int main() {
    constexpr std::string_view greeting = "hello from the sandbox";
    uLong checksum = 0;
    std::thread worker([&] {
        checksum = crc32(0, reinterpret_cast<const Bytef *>(greeting.data()), greeting.size());
    });
    worker.join();
    std::cout << greeting << ", zlib " << zlibVersion() << ", crc " << std::hex << checksum << '\n';
}
