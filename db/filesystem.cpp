// Network file systems by statfs(2), FUSE ones by /proc/self/mountinfo.
#include "db/filesystem.hpp"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <sstream>
#include <string_view>
#include <utility>

namespace hylas::db {
namespace {

constexpr unsigned long fuse_magic = 0x65735546;

// File system type of the mount that holds the device of `path`, as the kernel's mount table calls it ("fuse.sshfs").
std::string mount_type_of(const std::filesystem::path& path) {
  struct stat status {};
  if (stat(path.c_str(), &status) != 0) return "";
  const std::string device = std::to_string(major(status.st_dev)) + ":" + std::to_string(minor(status.st_dev));
  std::ifstream mounts("/proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    // id parent major:minor root mount-point options [tags] - type source options
    std::istringstream fields(line);
    std::string id, parent, numbers;
    fields >> id >> parent >> numbers;
    const std::size_t dash = line.find(" - ");
    if (numbers != device || dash == std::string::npos) continue;
    return line.substr(dash + 3, line.find(' ', dash + 3) - dash - 3);
  }
  return "";
}

}  // namespace

std::string network_name(unsigned long magic, const std::string& mount_type) {
  static constexpr std::array<std::pair<unsigned long, std::string_view>, 13> known{{{0x6969, "NFS"},
                                                                                     {0x517B, "SMB"},
                                                                                     {0xFF534D42, "CIFS"},
                                                                                     {0xFE534D42, "SMB2"},
                                                                                     {0x5346414F, "AFS"},
                                                                                     {0x6B414653, "AFS"},
                                                                                     {0x73757245, "Coda"},
                                                                                     {0x0BD00BD0, "Lustre"},
                                                                                     {0x47504653, "GPFS"},
                                                                                     {0x00C36400, "Ceph"},
                                                                                     {0x19830326, "BeeGFS"},
                                                                                     {0x7461636F, "OCFS2"},
                                                                                     {0x01161970, "GFS2"}}};
  for (const auto& [number, name] : known) {
    if (number == (magic & 0xFFFFFFFFUL)) return std::string(name);
  }
  if ((magic & 0xFFFFFFFFUL) != fuse_magic) return "";
  for (const std::string_view type : {"sshfs", "s3fs", "gcsfuse", "rclone", "glusterfs", "juicefs", "ceph", "goofys",
                                      "blobfuse", "davfs", "curlftpfs", "lustre", "mount-s3", "weka"}) {
    if (mount_type.find(type) != std::string::npos) return mount_type;
  }
  return "";
}

std::string network_file_system(const std::filesystem::path& path) {
  struct statfs status {};
  if (statfs(path.c_str(), &status) != 0) return "";
  const auto magic = static_cast<unsigned long>(status.f_type);
  return network_name(magic, (magic & 0xFFFFFFFFUL) == fuse_magic ? mount_type_of(path) : "");
}

bool is_writable(const std::filesystem::path& path) {
  return access(path.c_str(), W_OK) == 0;
}

std::filesystem::path directory_of(const std::filesystem::path& file) {
  const std::filesystem::path parent = file.parent_path();
  return parent.empty() ? std::filesystem::path(".") : parent;
}

}  // namespace hylas::db
