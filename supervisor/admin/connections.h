#pragma once

#include "common/ledger.h"
#include "supervisor/admin/control_client.h"
#include "supervisor/admin/options.h"
#include "supervisor/admin/sock_diag.h"
#include "supervisor/admin/table.h"
#include "supervisor/control_protocol.h"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace serverd {

/// A port's ledger, mapped read-only, and whose it is.
struct PortLedger {
  LedgerOwner owner;
  ledger::Ledger ledger;
};

/// Joins what the ledgers and the kernel say about connections, by SO_COOKIE. `dump` is called
/// once, after the ledgers were read. A connection that only its ledger knows before and after that
/// has been reset by its peer and is shown as "CLOSE"; one that only the kernel knows, and that no
/// process has taken, stands in the backlog. Sorted by port and number.
std::vector<ConnectionRow> join_connections(const std::vector<PortLedger>& ledgers,
                                            const std::function<std::vector<TcpSocket>()>& dump,
                                            std::uint64_t now_ns);

/// Leaves only what the options' filters let through.
void filter_connections(std::vector<ConnectionRow>& rows, const AdminOptions& options);

std::string connections_table(const std::vector<ConnectionRow>& rows, TableStyle style);

/// The subcommand. Throws AdminError, std::system_error.
int show_connections(ControlClient& client, const AdminOptions& options);

}  // namespace serverd
