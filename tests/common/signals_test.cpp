#include "common/loop/signals.h"

#include "tests/support/in_child.h"

#include <gtest/gtest.h>

#include <string>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

namespace serverd {
namespace {

using namespace std::chrono_literals;
using test::in_child;

// Each test changes the signal mask, so each has a process of its own.

TEST(Signals, ArriveInTheLoop) {
  EXPECT_EQ(in_child([] {
              Loop loop;
              std::string seen;
              const Signals signals(loop, {SIGTERM, SIGUSR1},
                                    [&](int signal) { seen += std::to_string(signal) + " "; });
              ::raise(SIGUSR1);
              ::raise(SIGTERM);
              seen += "raised ";
              loop.run_once();
              loop.run_once(0s);
              return seen;
            }),
            "raised 10 15 ");
}

TEST(Signals, LeaveOtherSignalsAlone) {
  EXPECT_EQ(in_child([] {
              Loop loop;
              const Signals signals(loop, {SIGTERM}, [](int) {});
              ::raise(SIGUSR1);
              return std::string("alive");
            }),
            "died: User defined signal 1");
}

TEST(Signals, StayBlockedWhenNobodyReceivesThemAnyMore) {
  EXPECT_EQ(in_child([] {
              {
                Loop loop;
                const Signals signals(loop, {SIGTERM}, [](int) {});
              }
              ::raise(SIGTERM);
              return std::string("alive");
            }),
            "alive");
}

TEST(Signals, OfAChildWakeTheLoop) {
  EXPECT_EQ(in_child([] {
              Loop loop;
              int seen = 0;
              const Signals signals(loop, {SIGCHLD}, [&](int signal) { seen = signal; });
              const pid_t child = ::fork();
              if (child == 0) ::_exit(0);
              while (seen == 0) loop.run_once(20s);
              ::waitpid(child, nullptr, 0);
              return std::to_string(seen);
            }),
            std::to_string(SIGCHLD));
}

TEST(Signals, MayStopTheLoop) {
  EXPECT_EQ(in_child([] {
              Loop loop;
              const Signals signals(loop, {SIGINT}, [&](int) { loop.stop(); });
              ::raise(SIGINT);
              loop.run();
              return std::string("stopped");
            }),
            "stopped");
}

TEST(ResetSignalsForExec, UnblocksEverythingAndRestoresSigpipe) {
  EXPECT_EQ(in_child([] {
              Loop loop;
              const Signals signals(loop, {SIGTERM, SIGHUP}, [](int) {});
              ::signal(SIGPIPE, SIG_IGN);
              reset_signals_for_exec();
              sigset_t blocked;
              ::sigprocmask(SIG_SETMASK, nullptr, &blocked);
              struct sigaction action {};
              ::sigaction(SIGPIPE, nullptr, &action);
              return std::string(::sigisemptyset(&blocked) != 0 ? "open" : "blocked") +
                     (action.sa_handler == SIG_DFL ? " default" : " changed");
            }),
            "open default");
}

}  // namespace
}  // namespace serverd
