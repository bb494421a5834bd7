#!/usr/bin/env python3
"""Makes the files that the command-line tests need: tiny kernels, good and bad.

usage: files.py DIRECTORY
"""
import random
import struct
import sys

SECTOR = 512
ENTRY_64 = 0x200  # of the 64-bit entry point in the code; boot.rst, "64-bit Boot Protocol"
RESET = b"\xb0\xfe\xe6\x64\xeb\xfe"  # mov $0xfe,%al; out %al,$0x64; jmp .: the i8042 resets
SPIN = b"\xeb\xfe"
# lidt of the ten zeroes behind the code: an IDT without entries; then ud2.
TRIPLE_FAULT = b"\x0f\x01\x1d\x02\0\0\0\x0f\x0b" + bytes(10)


def bzimage(code, init_size=0x100000, cmdline_size=2047, total=128 * 1024):
    """One setup sector behind the boot sector, then the code; boot.rst, "The Real-Mode ..."."""
    setup = bytearray(2 * SECTOR)
    body = bytearray(b"\xf4" * (total - len(setup)))
    body[ENTRY_64:ENTRY_64 + len(code)] = code
    fields = [
        (0x1F1, "B", 1),  # setup_sects
        (0x1F4, "<I", len(body) // 16),  # syssize
        (0x1FE, "<H", 0xAA55),
        (0x200, "<H", 0x6AEB),  # a jump, by which the header's end is told
        (0x202, "4s", b"HdrS"),
        (0x206, "<H", 0x020F),
        (0x211, "B", 1),  # loadflags: LOADED_HIGH
        (0x22C, "<I", 0x7FFFFFFF),  # initrd_addr_max
        (0x230, "<I", 0x200000),  # kernel_alignment
        (0x234, "B", 1),  # relocatable
        (0x235, "B", 21),
        (0x236, "<H", 1),  # xloadflags: XLF_KERNEL_64
        (0x238, "<I", cmdline_size),
        (0x258, "<Q", 0x1000000),  # pref_address
        (0x260, "<I", init_size),
    ]
    for at, fmt, value in fields:
        struct.pack_into(fmt, setup, at, value)
    return bytes(setup + body)


def elf(machine=62, bits=2, paddr=0x1000000, memsz=0x1000, phoff=64, phnum=1, entry=None):
    code = RESET.ljust(256, b"\xf4")
    ident = b"\x7fELF" + bytes([bits, 1, 1]) + bytes(9)
    ehdr = ident + struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, paddr if entry is None else entry,
                               phoff, 0, 0, 64, 56, phnum, 0, 0, 0)
    phdr = struct.pack("<IIQQQQQQ", 1, 5, 120, paddr, paddr, len(code), memsz, 0x1000)
    return ehdr + phdr + code


def main():
    good = bzimage(RESET)
    files = {
        "good": good,
        "good.elf": elf(),
        "spin": bzimage(SPIN),
        "triple": bzimage(TRIPLE_FAULT),
        "huge": bzimage(RESET, init_size=1 << 30),
        "no-64": good[:0x236] + b"\0\0" + good[0x238:],
        "old": good[:0x206] + b"\x05\x02" + good[0x208:],
        "empty": b"",
        "random": bytes([0x5A]) + random.Random(1).randbytes(128 * 1024),
        "text": b"#!/bin/sh\n" * 100,
        "machine.elf": elf(machine=183),  # AArch64
        "32.elf": elf(bits=1),
        "beyond.elf": elf(memsz=1 << 30),
        "wraps.elf": elf(paddr=(1 << 64) - 0x1000),
        "low.elf": elf(paddr=0),
        "headers.elf": elf(phoff=1 << 40),
        "none.elf": elf(phnum=0),
        "entry.elf": elf(entry=0x5000000),
        "cut.elf": elf()[:200],
        "disk": bytes(64 * 1024),
        "odd-disk": bytes(64 * 1024 + 100),
    }
    for name, content in files.items():
        with open(f"{sys.argv[1]}/{name}", "wb") as f:
            f.write(content)


main()
