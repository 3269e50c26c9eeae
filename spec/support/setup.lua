-- setup.lua - runs before the specs.
-- What a spec starts is not to have the sanitizer that was preloaded into this interpreter: the
-- command has its own, and curl and the shell have leaks that are theirs.
local found, harness = pcall(require, "harness")
if found then harness.unsetenv("LD_PRELOAD") end
