#!/bin/sh
# Make sure that Chromium and its driver are on this machine, in which tests look at pages.
"$(dirname "$0")/install.sh" chromium chromium && exec "$(dirname "$0")/install.sh" chromedriver chromium-driver
