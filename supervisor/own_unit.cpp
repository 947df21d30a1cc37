#include "supervisor/own_unit.h"

#include "common/os/error.h"

#include <systemd/sd-bus.h>
#include <systemd/sd-daemon.h>

#include <cerrno>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string_view>
#include <system_error>

#include <unistd.h>

namespace serverd {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr const char* kSystemd = "org.freedesktop.systemd1";
constexpr const char* kService = "org.freedesktop.systemd1.Service";

/// sd_* return a negative errno value.
int check_sd(int result, const char* what) {
  if (result < 0) throw_system_error(-result, what);
  return result;
}

/// One conversation with systemd, of bounded length. sd-bus's own calls wait for as long as the bus
/// takes to greet us, so messages are driven from here.
class Conversation final {
 public:
  explicit Conversation(std::chrono::milliseconds at_most)
      : deadline_(SteadyClock::now() + at_most) {
    sd_bus* bus = nullptr;
    check_sd(of_user_manager() ? ::sd_bus_open_user(&bus) : ::sd_bus_open_system(&bus),
             "connecting to D-Bus");
    bus_.reset(bus);
    // sd_pid_get_unit(3) would want to see /proc/1, which ProtectProc= hides.
    const Message call =
        new_call("/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", "GetUnitByPID");
    check_sd(::sd_bus_message_append(call.get(), "u", 0U), "GetUnitByPID");  // 0: whoever asks
    send(call, "GetUnitByPID");
    const char* path = nullptr;
    check_sd(::sd_bus_message_read(reply_.get(), "o", &path), "GetUnitByPID");
    unit_path_ = path;
    // Whoever starts us may run in the unit of somebody else, and that one's jobs are not ours.
    if (number(unit_path(), kService, "MainPID") != static_cast<unsigned>(::getpid()))
      throw std::runtime_error("this process is not the main process of its unit");
  }

  const char* unit_path() const noexcept { return unit_path_.c_str(); }

  unsigned number(const char* path, const char* interface, const char* property) {
    ask(path, interface, property, "u");
    std::uint32_t value = 0;
    check_sd(::sd_bus_message_read(reply_.get(), "u", &value), property);
    return value;
  }

  std::string text(const char* path, const char* interface, const char* property) {
    ask(path, interface, property, "s");
    const char* value = nullptr;
    check_sd(::sd_bus_message_read(reply_.get(), "s", &value), property);
    return value;
  }

  /// The path of the unit's job; empty: it has none.
  std::string job_path() {
    ask(unit_path(), "org.freedesktop.systemd1.Unit", "Job", "(uo)");
    std::uint32_t id = 0;
    const char* path = nullptr;
    check_sd(::sd_bus_message_read(reply_.get(), "(uo)", &id, &path), "Job");
    return id == 0 ? "" : path;
  }

 private:
  struct CloseBus {
    void operator()(sd_bus* bus) const { ::sd_bus_close_unref(bus); }
  };
  struct Unref {
    void operator()(sd_bus_message* message) const { ::sd_bus_message_unref(message); }
  };
  using Message = std::unique_ptr<sd_bus_message, Unref>;

  /// systemd.exec(5): set for what a user's manager starts.
  static bool of_user_manager() noexcept { return std::getenv("MANAGERPID") != nullptr; }

  Message new_call(const char* path, const char* interface, const char* method) {
    sd_bus_message* call = nullptr;
    check_sd(::sd_bus_message_new_method_call(bus_.get(), &call, kSystemd, path, interface, method),
             method);
    return Message(call);
  }

  /// Afterwards there is a `reply_`, which is no error.
  void send(const Message& call, const char* what) {
    reply_.reset();
    check_sd(::sd_bus_call_async(bus_.get(), nullptr, call.get(), &Conversation::on_reply, this, 0),
             what);
    while (reply_ == nullptr) turn();
    if (const sd_bus_error* error = ::sd_bus_message_get_error(reply_.get()))
      throw std::runtime_error(std::string(what) + ": " +
                               (error->message != nullptr ? error->message : error->name));
  }

  /// Afterwards `reply_` stands in the property's variant.
  void ask(const char* path, const char* interface, const char* property, const char* type) {
    const Message call = new_call(path, "org.freedesktop.DBus.Properties", "Get");
    check_sd(::sd_bus_message_append(call.get(), "ss", interface, property), property);
    send(call, property);
    check_sd(::sd_bus_message_enter_container(reply_.get(), 'v', type), property);
  }

  void turn() {
    if (check_sd(::sd_bus_process(bus_.get(), nullptr), "D-Bus") > 0) return;
    const auto left =
        std::chrono::duration_cast<std::chrono::microseconds>(deadline_ - SteadyClock::now());
    if (left.count() <= 0) throw_system_error(ETIMEDOUT, "D-Bus");
    check_sd(::sd_bus_wait(bus_.get(), static_cast<std::uint64_t>(left.count())), "D-Bus");
  }

  static int on_reply(sd_bus_message* message, void* self, sd_bus_error*) noexcept {
    static_cast<Conversation*>(self)->reply_.reset(::sd_bus_message_ref(message));
    return 0;
  }

  SteadyClock::time_point deadline_;
  std::unique_ptr<sd_bus, CloseBus> bus_;
  std::string unit_path_;
  Message reply_;
};

UnitJob job_of_type(std::string_view type) {
  if (type == "restart" || type == "try-restart") return UnitJob::kRestart;
  return type == "stop" ? UnitJob::kStop : UnitJob::kUnknown;
}

}  // namespace

UnitJobAnswer ask_unit_job(std::chrono::milliseconds at_most) try {
  Conversation systemd(at_most);
  const std::string job = systemd.job_path();
  if (job.empty()) return {UnitJob::kNone, ""};
  const std::string type = systemd.text(job.c_str(), "org.freedesktop.systemd1.Job", "JobType");
  return {job_of_type(type), "job of type " + type};
} catch (const std::exception& error) {
  return {UnitJob::kUnknown, error.what()};
}

std::optional<StoreSize> ask_store_size(std::chrono::milliseconds at_most) try {
  Conversation systemd(at_most);
  return StoreSize{systemd.number(systemd.unit_path(), kService, "FileDescriptorStoreMax"),
                   systemd.number(systemd.unit_path(), kService, "NFileDescriptorStore")};
} catch (const std::exception&) {
  return std::nullopt;
}

bool systemd_runs() noexcept { return ::sd_booted() > 0; }

}  // namespace serverd
