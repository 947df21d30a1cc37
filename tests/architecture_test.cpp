// The shape of the tree, as far as it can be read off the includes.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

struct Include {
  std::string file;  ///< relative to the root
  std::string target;
};

std::vector<Include> includes_below(const std::string& folder) {
  std::vector<Include> found;
  const fs::path root = SOURCE_DIR;
  for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
    if (entry.path().extension() != ".h" && entry.path().extension() != ".cpp") continue;
    std::ifstream file(entry.path());
    std::string line;
    while (std::getline(file, line)) {
      if (!line.starts_with("#include ")) continue;
      const std::string target = line.substr(10, line.find_first_of(">\"", 10) - 10);
      found.push_back({fs::relative(entry.path(), root).string(), target});
    }
  }
  return found;
}

TEST(Architecture, ArrowsPointToCommonOnly) {
  const std::set<std::string> folders = {"common", "supervisor", "worker", "client", "tests"};
  for (const std::string folder : {"common", "supervisor", "worker", "client"}) {
    const auto includes = includes_below(folder);
    EXPECT_FALSE(includes.empty()) << folder;
    for (const Include& include : includes) {
      const std::string target = include.target.substr(0, include.target.find('/'));
      if (!folders.contains(target) || target == include.target) continue;
      EXPECT_TRUE(target == folder || target == "common")
          << include.file << " includes " << include.target;
    }
  }
}

TEST(Architecture, ServicesDoNotKnowEachOther) {
  const std::string root = "worker/";
  for (const Include& include : includes_below("worker")) {
    const auto folder_of = [&](const std::string& path) {
      const auto slash = path.find('/', root.size());
      return path.starts_with(root) && slash != std::string::npos
                 ? path.substr(root.size(), slash - root.size())
                 : std::string();
    };
    const std::string from = folder_of(include.file);
    const std::string to = folder_of(include.target);
    if (from.empty() || to.empty() || (from != "http" && to == "http")) continue;
    EXPECT_EQ(from, to) << include.file << " includes " << include.target;
  }
}

TEST(Architecture, ClientsDoNotKnowEachOther) {
  for (const Include& include : includes_below("client")) {
    if (!include.target.starts_with("client/")) continue;
    const std::string folder = include.file.substr(0, include.file.find('/', 7) + 1);
    EXPECT_TRUE(include.target.starts_with(folder))
        << include.file << " includes " << include.target;
  }
}

/// Codecs are given bytes and give bytes: what moves them is somewhere else.
TEST(Architecture, WireFormatsDoNoInputOrOutput) {
  const auto includes = includes_below("common/wire");
  EXPECT_FALSE(includes.empty());
  for (const Include& include : includes) {
    const std::string& target = include.target;
    const bool system = target.starts_with("sys/") || target.ends_with("unistd.h") ||
                        target.starts_with("fcntl") || target.starts_with("poll");
    const bool project = target.starts_with("common/") && !target.starts_with("common/wire/") &&
                         target != "common/printable.h";
    EXPECT_FALSE(system || project) << include.file << " includes " << target;
  }
}

TEST(Architecture, EachVendorLibraryIsKnownToOneFile) {
  const std::map<std::string, std::set<std::string>> allowed = {
      {"boost/process", {"supervisor/spawn.cpp"}},
      {"boost/json", {"supervisor/control_protocol.cpp"}},
      {"boost/url", {"worker/packets/capture_request.cpp"}},
      {"boost/beast", {"worker/http/codec.cpp"}},
      {"boost/asio", {}},
      {"toml++", {"common/config_toml.cpp"}},
      {"systemd/", {"common/handoff.cpp", "supervisor/own_unit.cpp"}},
      {"CLI/",
       {"supervisor/main.cpp", "worker/main.cpp", "client/chat/main.cpp",
        "client/pcap2stream/main.cpp"}},
      {"seccomp.h", {"worker/sandbox/syscall_filter.cpp"}},
      {"linux/landlock.h", {"worker/sandbox/landlock.cpp"}},
      {"histedit.h", {"client/chat/line_editor.cpp"}},
      {"editline/", {}},
      {"pcap/", {"client/pcap2stream/capture_file.cpp", "worker/packets/capture.cpp"}},
      {"pcap.h", {"client/pcap2stream/capture_file.cpp"}},
      {"tins/", {"client/pcap2stream/ip_fragments.cpp"}},
      {"openssl/", {"client/pcap2stream/digest.cpp"}},
  };
  std::set<std::string> seen;
  for (const std::string folder : {"common", "supervisor", "worker", "client"}) {
    for (const Include& include : includes_below(folder)) {
      for (const auto& [library, files] : allowed) {
        if (!include.target.starts_with(library)) continue;
        seen.insert(library);
        EXPECT_TRUE(files.contains(include.file)) << include.file << " includes " << include.target;
      }
    }
  }
  EXPECT_TRUE(seen.contains("boost/process") && seen.contains("toml++") &&
              seen.contains("systemd/"))
      << "the libraries that this project is built on";
}

}  // namespace
