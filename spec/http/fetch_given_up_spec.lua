-- Requests to other servers that are given up before the first of their bodies is there.
local raw = require("raw")
local server = require("server")

describe("a fetch whose body has not begun", function()
  it("may be given up, by time or by its client, and leaves nothing behind (B15)", function()
    local s <close> = server.start({ script = [[
      local tg = require("tidegate")
      local function late() return tg.generate(function(yield) tg.sleep(10) yield(1) end) end
      local function fetch(request)
        return tg.fetch(("http://127.0.0.1:%d/ok"):format(request.port), { method = "POST", body = late() })
      end
      return { routes = {
        { "/ok", any = function() return { body = "ok" } end },
        { "/timed", get = function(request)
          for _ = 1, 20 do pcall(tg.timeout, 0.001, fetch, request) end
          return { body = "given up" }
        end },
        { "/waits", get = fetch },
        { "/open", get = function() return { body = tostring(tg.stats().exchanges.open - 1) } end },
      } }]] })
    assert.equal("given up", raw.get(s.port, "/timed", 10).body)
    for _ = 1, 20 do
      local c = assert(raw.connect(s.port))
      c:send("GET /waits HTTP/1.1\r\nHost: a\r\n\r\n")
      server.eventually(function() return raw.get(s.port, "/open").body == "1" end)
      c:close()
      server.eventually(function() return raw.get(s.port, "/open").body == "0" end)
    end
    assert.equal("ok", raw.get(s.port, "/ok").body)
  end)
end)
