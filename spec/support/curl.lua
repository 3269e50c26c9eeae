-- curl.lua - the real curl, as a client that nobody here wrote.
local harness = require("harness")

local MARK = "@curl@"
local FIELDS = {
  "http_code", "time_starttransfer", "time_total", "num_connects", "size_download", "http_version",
}

local curl = { insecure = false } -- whether any certificate will do

-- curl.run { url, … } with any of curl's options: { exit (its code), stdout, stderr, status,
-- time_starttransfer, time_total, num_connects, size_download }.  The last five are absent when the
-- arguments have a --write-out of their own.  It has 20 s, unless --max-time is among them.
function curl.run(arguments)
  local format = {}
  for i, name in ipairs(FIELDS) do format[i] = "%{" .. name .. "}" end
  local argv = {
    "curl", "--silent", "--show-error", "--max-time", "20", "--noproxy", "*",
    "--write-out", "%{stderr}" .. MARK .. table.concat(format, " ") .. "\n",
  }
  if curl.insecure then argv[#argv + 1] = "--insecure" end
  table.move(arguments, 1, #arguments, #argv + 1, argv)
  local process <close> = assert(harness.spawn(argv, { stdout = "pipe", stderr = "pipe" }))
  local exit = assert(process:wait(60))
  local stderr = process:output("stderr")
  local result = { exit = exit, stdout = process:output("stdout") }
  result.stderr = stderr:gsub(MARK .. "[^\n]*\n", "")
  local i = 0
  for value in (stderr:match(MARK .. "([^\n]*)\n") or ""):gmatch("%S+") do
    i = i + 1
    result[FIELDS[i]] = tonumber(value)
  end
  result.status = result.http_code
  return result
end

return curl
