#include "supervisor/control_protocol.h"

#include "common/exit_code.h"
#include "common/printable.h"

#include <boost/json/src.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>

namespace serverd {
namespace {

namespace json = boost::json;

struct CommandForm {
  const char* name;
  const char* argument;  ///< key; null: none
};

constexpr std::array<CommandForm, static_cast<std::size_t>(ControlCommand::kCount)> kForms = {{
    {"status", nullptr},
    {"ledger", "port"},
    {"kill", "id"},
    {"reload", nullptr},
    {"stop", nullptr},
    {"drain", nullptr},
    {"restart", "port"},
    {"resume", "port"},
}};

const CommandForm& form_of(ControlCommand command) {
  return kForms[static_cast<std::size_t>(command)];
}

template <typename Number>
std::optional<Number> whole_number(std::string_view text) {
  Number number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number == 0) return std::nullopt;
  return number;
}

/// A value that came from outside, short and harmless, for a message.
std::string shown(std::string_view text) { return printable(text.substr(0, 40)); }

/// Null if the text is not one JSON object.
std::optional<json::object> parse_object(std::string_view text, std::string& why) {
  json::error_code error;
  json::value value = json::parse({text.data(), text.size()}, error);
  if (error) {
    why = error.message();
    return std::nullopt;
  }
  if (!value.is_object()) {
    why = "not an object";
    return std::nullopt;
  }
  return std::move(value.get_object());
}

std::optional<ControlCommand> command_called(std::string_view name) {
  const auto found = std::find_if(kForms.begin(), kForms.end(),
                                  [&](const CommandForm& form) { return name == form.name; });
  if (found == kForms.end()) return std::nullopt;
  return static_cast<ControlCommand>(found - kForms.begin());
}

std::string known_commands() {
  std::string names;
  for (const CommandForm& form : kForms)
    names += (names.empty() ? "" : ", ") + std::string(form.name);
  return names;
}

/// Empty, or what is wrong.
std::string take_argument(ControlRequest& request, const json::object& object) {
  const CommandForm& form = form_of(request.command);
  for (const auto& item : object)
    if (item.key() != "command" && (form.argument == nullptr || item.key() != form.argument))
      return fmt::format("{}: unknown key '{}'", form.name, shown(item.key()));
  if (form.argument == nullptr) return "";
  const json::value* value = object.if_contains(form.argument);
  if (value == nullptr) return fmt::format("{}: '{}' is missing", form.name, form.argument);
  if (form.argument == std::string_view("port")) {
    json::error_code error;
    request.port = value->to_number<std::uint16_t>(error);
    if (error || request.port == 0)
      return fmt::format("{}: port: {} is not a port (1-65535)", form.name,
                         shown(json::serialize(*value)));
    return "";
  }
  const auto id = value->is_string() ? ConnectionId::parse(std::string_view(value->get_string()))
                                     : std::nullopt;
  if (!id)
    return fmt::format("{}: id: {} is not PORT-NUMBER, as \"5000-17\"", form.name,
                       shown(json::serialize(*value)));
  request.connection = *id;
  return "";
}

std::string text_at(const json::object& object, const char* key) {
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : "";
}

template <typename Number>
Number number_at(const json::object& object, const char* key) {
  const json::value* value = object.if_contains(key);
  json::error_code error;
  const Number number = value == nullptr ? Number{} : value->to_number<Number>(error);
  return error ? Number{} : number;
}

/// Null if there is no array of that name; what in it is not an object is left out.
const json::array* array_at(const json::object& object, const char* key) {
  const json::value* value = object.if_contains(key);
  return value == nullptr ? nullptr : value->if_array();
}

ControlOutcome not_understood(const std::string& why) {
  return {"", "the daemon's reply is not understood: " + why, {}, kExitBug};
}

ControlOutcome outcome_in(const json::object& object) {
  ControlOutcome outcome;
  outcome.message = text_at(object, "message");
  outcome.error = text_at(object, "error");
  outcome.code = number_at<int>(object, "code");
  if (const json::array* reasons = array_at(object, "reasons"))
    for (const json::value& reason : *reasons)
      if (reason.is_string()) outcome.reasons.emplace_back(reason.get_string());
  if (outcome.error.empty() && !object.contains("ok"))
    return not_understood("neither ok nor error");
  return outcome;
}

json::object object_of(const PortStatus& port) {
  return {{"service", port.service},
          {"protocol", port.protocol},
          {"port", port.port},
          {"state", port.state},
          {"worker_pid", port.worker_pid},
          {"generation", port.generation},
          {"restarts", port.restarts},
          {"last_death", port.last_death},
          {"connections", port.connections},
          {"accepted", port.accepted},
          {"bytes", port.bytes},
          {"file", port.file}};
}

PortStatus port_in(const json::object& object) {
  return {text_at(object, "service"),
          text_at(object, "protocol"),
          number_at<std::uint16_t>(object, "port"),
          text_at(object, "state"),
          number_at<pid_t>(object, "worker_pid"),
          number_at<unsigned>(object, "generation"),
          number_at<std::uint64_t>(object, "restarts"),
          text_at(object, "last_death"),
          number_at<std::uint64_t>(object, "connections"),
          number_at<std::uint64_t>(object, "accepted"),
          number_at<std::uint64_t>(object, "bytes"),
          text_at(object, "file")};
}

json::object object_of(const LedgerOwner& owner) {
  return {{"service", owner.service},
          {"protocol", owner.protocol},
          {"port", owner.port},
          {"worker_pid", owner.worker_pid}};
}

LedgerOwner owner_in(const json::object& object) {
  return {text_at(object, "service"), text_at(object, "protocol"),
          number_at<std::uint16_t>(object, "port"), number_at<pid_t>(object, "worker_pid")};
}

json::object object_of(const ConnectionRow& row) {
  return {{"id", row.id ? row.id->to_string() : ""},
          {"service", row.service},
          {"protocol", row.protocol},
          {"local", row.local},
          {"peer", row.peer},
          {"state", row.state},
          {"recv_q", row.recv_q},
          {"send_q", row.send_q},
          {"pid", row.pid},
          {"bytes", row.bytes},
          {"age_s", row.age_s}};
}

template <typename Item>
json::array array_of(const std::vector<Item>& items) {
  json::array array;
  array.reserve(items.size());
  for (const Item& item : items) array.push_back(object_of(item));
  return array;
}

}  // namespace

std::optional<ConnectionId> ConnectionId::parse(std::string_view text) {
  const std::size_t dash = text.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const auto port = whole_number<std::uint16_t>(text.substr(0, dash));
  const auto number = whole_number<std::uint64_t>(text.substr(dash + 1));
  if (!port || !number) return std::nullopt;
  return ConnectionId{*port, *number};
}

std::string ConnectionId::to_string() const { return fmt::format("{}-{}", port, number); }

const char* command_name(ControlCommand command) noexcept { return form_of(command).name; }

std::variant<ControlRequest, std::string> parse_request(std::string_view line) {
  std::string why;
  const auto object = parse_object(line, why);
  if (!object) return fmt::format("not a request ({}); one is {{\"command\":\"status\"}}", why);
  const json::value* name = object->if_contains("command");
  if (name == nullptr || !name->is_string()) return "'command' is missing, or is not a string";
  const auto command = command_called(std::string_view(name->get_string()));
  if (!command)
    return fmt::format("unknown command '{}'; known are {}",
                       shown(std::string_view(name->get_string())), known_commands());
  ControlRequest request{*command, 0, {}};
  if (std::string wrong = take_argument(request, *object); !wrong.empty()) return wrong;
  return request;
}

std::string request_text(const ControlRequest& request) {
  const CommandForm& form = form_of(request.command);
  json::object object = {{"command", form.name}};
  if (form.argument == nullptr) return json::serialize(object);
  if (request.command == ControlCommand::kKill)
    object[form.argument] = request.connection.to_string();
  else
    object[form.argument] = request.port;
  return json::serialize(object);
}

std::string status_text(const InstanceStatus& status) {
  return json::serialize(json::object{{"name", status.name},
                                      {"pid", status.pid},
                                      {"uptime_s", status.uptime_s},
                                      {"ports", array_of(status.ports)}});
}

std::string ledgers_text(const std::vector<LedgerOwner>& owners) {
  return json::serialize(json::object{{"ledgers", array_of(owners)}});
}

std::string outcome_text(const ControlOutcome& outcome) {
  if (outcome.error.empty())
    return json::serialize(json::object{{"ok", true}, {"message", printable(outcome.message)}});
  json::object object = {{"error", printable(outcome.error)}};
  json::array reasons;
  for (const std::string& reason : outcome.reasons) reasons.emplace_back(printable(reason));
  if (!reasons.empty()) object["reasons"] = std::move(reasons);
  if (outcome.code != 0) object["code"] = outcome.code;
  return json::serialize(object);
}

std::string connections_text(const std::vector<ConnectionRow>& rows) {
  return json::serialize(array_of(rows));
}

std::variant<InstanceStatus, ControlOutcome> parse_status(std::string_view line) {
  std::string why;
  const auto object = parse_object(line, why);
  if (!object) return not_understood(why);
  const json::array* ports = array_at(*object, "ports");
  if (ports == nullptr) return outcome_in(*object);
  InstanceStatus status{text_at(*object, "name"),
                        number_at<pid_t>(*object, "pid"),
                        number_at<std::uint64_t>(*object, "uptime_s"),
                        {}};
  for (const json::value& port : *ports)
    if (port.is_object()) status.ports.push_back(port_in(port.get_object()));
  return status;
}

std::variant<std::vector<LedgerOwner>, ControlOutcome> parse_ledgers(std::string_view line) {
  std::string why;
  const auto object = parse_object(line, why);
  if (!object) return not_understood(why);
  const json::array* ledgers = array_at(*object, "ledgers");
  if (ledgers == nullptr) return outcome_in(*object);
  std::vector<LedgerOwner> owners;
  for (const json::value& owner : *ledgers)
    if (owner.is_object()) owners.push_back(owner_in(owner.get_object()));
  return owners;
}

ControlOutcome parse_outcome(std::string_view line) {
  std::string why;
  const auto object = parse_object(line, why);
  return object ? outcome_in(*object) : not_understood(why);
}

}  // namespace serverd
