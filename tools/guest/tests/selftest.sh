#!/bin/sh
# Fails, so that one can see that a failing test is seen.

echo "VMM-TEST selftest FAIL on purpose"
