-- What holds over plain TCP holds over TLS (B80): the specs of bodies, endings, uploads and streams once more.
local secure = require("secure")
local server = require("server")

local SPECS = {
  bodies = {},
  channels = {},
  endings = {},
  failures = {},
  file = { "is let go of when its task is cancelled" }, -- what is read has no hole when it stops
  filters = {},
  handle = {},
  intake = { "says who is there", "beyond limits.connections", "without descriptors" }, -- "http", and who only connects
  lowlevel = {},
  multipart = {},
  params = {},
  sse = { "shares one formatted copy" }, -- each has its own cipher
  topics = { "costs 4 KiB at most" }, -- OpenSSL's side of it is 14
}

local names = {}
for name in pairs(SPECS) do names[#names + 1] = name end
table.sort(names)
-- Under a sanitizer those that go through all of core/http: the others would take as long again.
local FEW = { bodies = true, intake = true, lowlevel = true, multipart = true, sse = true }
for _, name in ipairs(names) do
  if FEW[name] or not server.sanitized then
    secure.run_file("spec/http/" .. name .. "_spec.lua", _ENV, SPECS[name])
  end
end
