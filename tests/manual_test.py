#!/usr/bin/env python3
"""manual_test.py SOURCE BIN: whether the manual says what the programs do, no less and no more.

Options come from the programs' --help; configuration keys, signals, exit codes and environment
variables from the sources. Each is looked for in the pages, and what the pages say in the programs.
"""

import glob
import os
import re
import subprocess
import sys
import unittest

SOURCE, BIN = sys.argv[1:3]

# The page of each program, and the folders whose code runs in it beside its own.
PROGRAMS = {
    "stream-serverd": ("stream-serverd.8", ["supervisor"]),
    "stream-worker": ("stream-worker.8", ["worker"]),
    "pcap2stream": ("pcap2stream.1", ["client/pcap2stream"]),
    "stream-chat": ("stream-chat.1", ["client/chat"]),
}
SUBCOMMAND = re.compile(r"^  ([a-z]+) +[A-Z]", re.MULTILINE)


def read(path):
    with open(os.path.join(SOURCE, path), encoding="utf-8") as file:
        return file.read()


def page(name):
    return read("man/" + name)


def section(text, title, macro="Sh"):
    """What stands below a heading, up to the next one of its level or above."""
    parts = re.split(rf"^\.{macro} {re.escape(title)}\n", text, flags=re.MULTILINE)
    if len(parts) != 2:
        raise AssertionError(f"no section {title!r}")
    end = r"^\.Sh " if macro == "Sh" else r"^\.S[hs] "
    return re.split(end, parts[1], flags=re.MULTILINE)[0]


def code(folders):
    """Sources without comments."""
    text = ""
    for folder in folders:
        for name in sorted(glob.glob(f"{SOURCE}/{folder}/**/*.cpp", recursive=True)):
            text += re.sub(r"//.*", "", read(os.path.relpath(name, SOURCE)))
    return text


def help_text(*command):
    done = subprocess.run([f"{BIN}/{command[0]}", *command[1:], "--help"], text=True,
                          capture_output=True, check=True)
    return done.stdout


def options_of(program):
    """Every option that the program, or one of its commands, offers."""
    texts = [help_text(program)]
    if "SUBCOMMAND" in texts[0]:
        commands = SUBCOMMAND.findall(texts[0].split("Subcommands:")[1])
        texts += [help_text(program, command) for command in commands]
    # What is rewritten before parsing: old spellings with one dash.
    rewritten = re.findall(r'"(-[a-z]{2,})"', code(PROGRAMS[program][1]))
    return set(rewritten) | set(re.findall(r"(?<=[\s,])--?[a-z][a-z-]*", "\n".join(
        line for text in texts for line in text.splitlines() if re.match(r"^  -", line))))


def options_in(text):
    """Fl macros; `Fl -name` and `Fl Fl name` are both --name."""
    text = re.sub(r"\bFl Fl ", "Fl -", text)
    return {"-" + name for name in re.findall(r"\bFl (-?[a-z][a-z-]*)", text)} | \
           {"-" + name for name in re.findall(r"(?<= , )(-[a-z][a-z-]*)", text)}


def signals_of(folders):
    """Those that a program takes by its signal descriptor."""
    text = re.sub(r"\bkRequestSignal\b", "SIGURG", code(folders))
    lists = re.findall(r"signals_\(loop_?,\s*\{([^}]*)\}", text)
    return {name for found in lists for name in re.findall(r"SIG[A-Z0-9]+", found)}


def exit_codes():
    return {name: int(value) for name, value in
            re.findall(r"(kExit\w+) = (\d+)", read("common/exit_code.h"))}


def variables_of(folders):
    text = code(folders)
    for name, variable in (("kBlameVariable", "STREAM_WORKER_BLAME_AFTER"),
                           ("kStoreVariable", "FDSTORE")):
        text = re.sub(rf"\b{name}\b", f'"{variable}"', text)
    return set(re.findall(r'(?:getenv|variable|take_number)\("?([A-Z][A-Z_]+)"?\)', text))


def config_keys():
    """The keys of each table, by the function that reads them."""
    protocols = re.findall(r"^ProtocolConfig read_(\w+)\(", read("common/config.cpp"), re.MULTILINE)
    keys = {"daemon": set(), "restart": set(), "service": set(), **{name: set() for name in protocols}}
    current = None
    for line in code(["common"]).splitlines():
        function = re.match(r"^(\s*)(?:[\w:<>]+ )+(\w+)\(.*[{,]$", line)
        if function and function[2].startswith("read_"):
            current = function[2][5:] if function[2][5:] in keys else "service"
        elif function and not function[1]:
            current = None
        for key in re.findall(r'\btable\.(?:read|require|find)\("(\w+)"|\bkKey = "(\w+)"', line):
            if current:
                keys[current].add("".join(key))
    return keys


def documented_keys():
    text = page("stream-serverd.toml.5")
    def keys(title):
        return set(re.findall(r"^\.It Li ([a-z_]+)\b", section(text, title, "Ss"), re.MULTILINE))
    found = {name: keys(f"[{name}]") for name in ("daemon", "restart")}
    found["service"] = keys("[[service]]")
    for name in re.findall(r'^\.Ss Keys of protocol = \\\(dq(\w+)\\\(dq$', text, re.MULTILINE):
        found[name] = keys(rf"Keys of protocol = \(dq{name}\(dq")
    return found


class Manual(unittest.TestCase):
    maxDiff = None

    def test_options(self):
        for program, (name, _) in PROGRAMS.items():
            with self.subTest(program):
                offered = options_of(program)
                self.assertGreater(len(offered), 2)
                self.assertEqual(options_in(page(name)) | {"-h"}, offered | {"-h"})

    def test_commands(self):
        offered = set(SUBCOMMAND.findall(help_text("stream-serverd").split("Subcommands:")[1]))
        text = section(page("stream-serverd.8"), "SYNOPSIS")
        named = {word for line in re.findall(r"\bCm (.*)", text)
                 for word in re.findall(r"\b[a-z]+\b", re.split(r" (?:Ar|Oo|Op|Fl) ", line)[0])}
        self.assertEqual(named, offered)

    def test_signals(self):
        for program in ("stream-serverd", "stream-worker"):
            with self.subTest(program):
                name, folders = PROGRAMS[program]
                items = "\n".join(re.findall(r"^\.It Dv (.*)", section(page(name), "SIGNALS"),
                                             re.MULTILINE))
                named = set(re.findall(r"SIG[A-Z0-9]+", items))
                taken = signals_of(folders)
                self.assertGreater(len(taken), 5)
                self.assertEqual(named - {"SIGABRT"}, taken)  # which ends the worker, untaken

    def test_exit_codes(self):
        known = exit_codes()
        for program, (name, folders) in PROGRAMS.items():
            with self.subTest(program):
                used = {known[constant] for constant in re.findall(r"\bkExit\w+", code(folders))
                        if constant in known} | {0}
                text = section(page(name), "EXIT STATUS")
                self.assertEqual(set(map(int, re.findall(r"^\.It (\d+)$", text, re.MULTILINE))),
                                 used)

    def test_environment(self):
        shared = variables_of(["common"])
        for program in ("stream-serverd", "stream-worker"):
            with self.subTest(program):
                name, folders = PROGRAMS[program]
                text = section(page(name), "ENVIRONMENT")
                named = set(re.findall(r"[A-Z][A-Z_]{4,}", "\n".join(
                    re.findall(r"^\.It Ev (.*)", text, re.MULTILINE))))
                read_by_libsystemd = {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}
                self.assertEqual(named, variables_of(folders) | shared | read_by_libsystemd)

    def test_configuration_keys(self):
        keys = config_keys()
        self.assertGreater(len(keys["stream"]), 1)
        documented = documented_keys()
        # A protocol without keys of its own has no section.
        self.assertEqual(documented, {name: found for name, found in keys.items() if found})

    def test_example_has_every_key(self):
        example = read("etc/stream-serverd.toml")
        missing = {key for found in config_keys().values() for key in found
                   if not re.search(rf"^(?:# )?{key} +=|^(?:# )?{key} =", example, re.MULTILINE)}
        self.assertEqual(missing, set())

    def test_pages_are_named_where_they_are(self):
        pages = {os.path.basename(path) for path in glob.glob(SOURCE + "/man/*.[1-8]")}
        for name in pages:
            for other, number in re.findall(r"^\.Xr ((?:stream|pcap2)[\w.-]*) (\d)", page(name),
                                            re.MULTILINE):
                self.assertIn(f"{other}.{number}", pages, name)
        installed = set(re.findall(r"man/([\w.-]+\.\d)", read("CMakeLists.txt")))
        self.assertEqual(installed, pages)

    def test_mandoc_has_nothing_to_say(self):
        done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning",
                               *sorted(glob.glob(SOURCE + "/man/*.[1-8]"))],
                              text=True, capture_output=True, check=False)
        self.assertEqual((done.returncode, done.stdout), (0, ""))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
