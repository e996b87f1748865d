#!/bin/sh
# Make sure that Chromium and its driver are on this machine: tests look at pages with them.
exec "$(dirname "$0")/install.sh" chromium-driver chromedriver
