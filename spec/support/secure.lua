-- secure.lua - certificates for specs, and whole specs that are run over TLS.
local curl = require("curl")
local harness = require("harness")
local server = require("server")

local secure = {}

local function run(argv)
  local process <close> = assert(harness.spawn(argv, { stdout = "pipe", stderr = "pipe" }))
  local exit = process:wait(30)
  if exit ~= 0 then error(table.concat(argv, " ") .. ": " .. process:output("stderr")) end
end

--- A key and a certificate of its own for these names, as { cert =, key = }: paths in the folder.
function secure.certificate(folder, name, options)
  options = options or {}
  local pair = { cert = folder .. "/" .. name .. ".pem", key = folder .. "/" .. name .. ".key" }
  local names = "DNS:" .. (options.dns or name) .. (name == "localhost" and ",IP:127.0.0.1" or "")
  run({ "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-days", "2",
    "-subj", "/CN=" .. name, "-addext", "subjectAltName=" .. names, "-keyout", pair.key, "-out", pair.cert,
    options.password and "-passout" or "-nodes", options.password and "pass:" .. options.password })
  return pair
end

--- All of a spec's file, with servers that listen with TLS, but for what skip names a part of.  env is the
--- caller's, whose functions it uses.
function secure.run_file(path, env, skip)
  local folder
  local function it(name, ...)
    for _, part in ipairs(skip or {}) do
      if name:find(part, 1, true) then return end
    end
    env.it(name, ...)
  end
  env.describe("over TLS:", function()
    env.setup(function()
      folder = server.folder()
      server.tls, curl.insecure = secure.certificate(folder, "localhost"), true
    end)
    env.teardown(function()
      server.tls, curl.insecure = nil, false
      server.remove_folder(folder)
    end)
    assert(loadfile(path, "t", setmetatable({ it = it }, { __index = env })))()
  end)
end

return secure
