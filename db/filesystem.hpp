// What kind of place a store lies in: network file systems (where a write-ahead log must not be used), and what can be
// written. Thread-safety: free functions.
#pragma once

#include <filesystem>
#include <string>

namespace hylas::db {

// The name of a network file system by its statfs magic number or, for FUSE, its mount type; "" for a local one.
[[nodiscard]] std::string network_name(unsigned long magic, const std::string& mount_type = "");
// The same for the file system that holds an existing path.
[[nodiscard]] std::string network_file_system(const std::filesystem::path& path);
// By asking the system (access(2)), not by looking at mode bits.
[[nodiscard]] bool is_writable(const std::filesystem::path& path);
// The directory a file lies in; "." for a bare name.
[[nodiscard]] std::filesystem::path directory_of(const std::filesystem::path& file);

}  // namespace hylas::db
