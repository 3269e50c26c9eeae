-- encode_spec.lua - content codings: the coders, who gets which, and the sink that codes.
local probe = require("probe_encode")

local CODINGS = { "gzip", "br", "zstd" }

-- Text that is neither the same all over nor noise.
local function text(size)
  local parts, len, i = {}, 0, 0
  while len < size do
    i = i + 1
    parts[i] = ("row %d has %x;"):format(i, i * 2654435761 % 2 ^ 32)
    len = len + #parts[i]
  end
  return table.concat(parts):sub(1, size)
end

-- Bytes that no coding makes smaller.
local function noise(size)
  local x, bytes = 1, {}
  for i = 1, size do
    x = (x * 6364136223846793005 + 1442695040888963407) & -1
    bytes[i] = string.char(x >> 56 & 255)
  end
  return table.concat(bytes)
end

-- What the other sink was sent, as one string, and its heads.
local function sent(stream)
  local parts, heads = {}, {}
  for _, entry in ipairs(stream:log()) do
    if entry:find("^head") then heads[#heads + 1] = entry else parts[#parts + 1] = entry:sub(6) end
  end
  return table.concat(parts), heads
end

local function decode(coding, bytes)
  local decoder = probe.decoder(coding)
  local plain = decoder:feed(bytes)
  return plain, decoder:ended()
end

for _, coding in ipairs(CODINGS) do
  describe("the coding " .. coding, function()
    it("gives back what was put in, by whatever pieces and through whatever space", function()
      local input = text(100000) .. noise(30000) .. text(1000)
      for _, room in ipairs({ 64, 100, 16384, 1000000 }) do
        local encoder = probe.encoder(coding)
        local out, at, step = {}, 1, 1
        while at <= #input do
          step = step * 7 % 40009 + 1
          out[#out + 1] = encoder:run(step % 3 == 0 and "flush" or "go on", input:sub(at, at + step - 1), room)
          at = at + step
        end
        out[#out + 1] = encoder:run("finish", "", room)
        local plain, ended = decode(coding, table.concat(out))
        assert.is_true(plain == input and ended, "room " .. room)
      end
    end)

    it("can be decoded up to each flush (B78)", function()
      local encoder, decoder = probe.encoder(coding), probe.decoder(coding)
      for i = 1, 50 do
        local piece = ("piece %d"):format(i)
        assert.equal(piece, decoder:feed(encoder:run("flush", piece, 50)))
      end
      assert.equal("", decoder:feed(encoder:run("flush", "", 50)))
      assert.equal("", decoder:feed(encoder:run("finish", "", 50)))
      assert.is_true(decoder:ended())
    end)

    it("of nothing is something that decodes to nothing", function()
      assert.same({ "", true }, { decode(coding, probe.encoder(coding):run("finish", "", 100)) })
    end)

    if coding ~= "zstd" then -- which allocates by itself
      it("says when there is no memory for it (B69)", function()
        for n = 1, 20 do
          probe.fail_at(n)
          local encoder = probe.encoder(coding)
          local made = encoder and encoder:run("finish", text(100000), 10000)
          probe.fail_at(0)
          assert.is_truthy(not encoder or made == "memory" or decode(coding, made) == text(100000))
          if n == 1 then assert.is_nil(encoder) end
        end
      end)
    end
  end)

  describe("the sink that codes in " .. coding, function()
    it("keeps a body back that ended at once, and sends it with its length", function()
      local input = text(60000)
      local stream = probe.stream(coding, { length = #input })
      stream:write(input)
      assert.equal("ok", stream:finish())
      local bytes, heads = sent(stream)
      assert.same({ ("head %d coded\r\n"):format(#bytes) }, heads)
      assert.equal(2, #stream:log())
      assert.matches("^last ", stream:log()[2])
      assert.is_true(decode(coding, bytes) == input)
      assert.is_false(stream:busy())
    end)

    it("leaves a body alone that is known to be short", function()
      for _, length in ipairs({ -1, 5 }) do
        local stream = probe.stream(coding, { length = length, min_length = 6 })
        stream:write("short")
        stream:finish()
        assert.same({ "head 5 plain\r\n", "last short" }, stream:log())
        assert.is_false(stream:busy())
      end
    end)

    it("sends the head at once where the body goes on, without a length", function()
      for _, length in ipairs({ -1, 500 }) do
        local stream = probe.stream(coding, { length = length })
        stream:flush()
        assert.equal("head -1 coded\r\n", stream:log()[1])
        assert.matches("^send ", stream:log()[2])
        stream:write(text(500))
        stream:finish()
        assert.is_true(decode(coding, (sent(stream))) == text(500))
      end
    end)

    it("sends all that was flushed, and not each push (B78)", function()
      local stream = probe.stream(coding, { gather = 4096, high_water = 1 << 20 })
      local decoder = probe.decoder(coding)
      local got, done = "", 0
      local function take()
        for i = done + 1, #stream:log() do
          local entry = stream:log()[i]
          if not entry:find("^head") then got = got .. decoder:feed(entry:sub(6)) end
        end
        done = #stream:log()
      end
      local input = text(40000)
      for i = 1, 40000, 100 do stream:write(input:sub(i, i + 99)) end
      local pushes = #stream:log()
      take()
      assert.is_true(#got < 40000)
      stream:flush()
      take()
      assert.is_true(got == input)
      assert.is_true(pushes < 9, "every push was flushed")
      for i = 1, 10 do
        stream:write(("%d;"):format(i))
        stream:flush()
        take()
        assert.is_true(got:sub(-#("%d;"):format(i)) == ("%d;"):format(i))
      end
    end)

    it("codes a large string in turns, and keeps it for as long (B63)", function()
      local input = text(700000)
      local stream = probe.stream(coding, { length = #input })
      assert.equal("ok", stream:lend(input))
      assert.equal(0, stream:state().released)
      stream:finish()
      assert.is_true(stream:busy())
      local turns = 0
      repeat
        stream:turn()
        turns = turns + 1
      until stream:state().told or turns > 100
      assert.equal("ok", stream:state().end_status)
      assert.is_true(turns >= 5 and turns < 10, turns .. " turns")
      assert.equal(#input, stream:state().released)
      assert.is_false(stream:busy())
      assert.is_true(decode(coding, (sent(stream))) == input)
    end)

    it("copies what it cannot code at once, and codes it in order", function()
      local stream = probe.stream(coding, {})
      local parts = {}
      for i = 1, 6 do
        parts[i] = text(200000 + i)
        stream[i % 2 == 0 and "lend" or "write"](stream, parts[i])
      end
      stream:pass("passed")
      parts[7] = "passed"
      stream:finish()
      assert.is_true(stream:busy())
      for _ = 1, 30 do stream:turn() end
      assert.is_true(stream:state().told)
      assert.is_true(decode(coding, (sent(stream))) == table.concat(parts))
    end)

    it("stops coding while the client is slow, and holds its producer back (B20)", function()
      local stream = probe.stream(coding, { high_water = 20000, low_water = 1000, gather = 4096 })
      local input = noise(65536):rep(12) -- no coding finds what is so far back
      stream:fill(true)
      stream:lend(input)
      for _ = 1, 20 do stream:turn() end
      local state = stream:state()
      assert.is_true(#(sent(stream)) < 20000 + 131072 + 1000)
      assert.is_true(state.asked and state.pending > 300000)
      assert.equal("again", stream:write("x"))
      stream:on_drain()
      for _ = 1, 100 do
        stream:turn()
        stream:fill(false)
        stream:fill(true)
      end
      assert.equal(1, stream:state().drains)
      stream:finish()
      stream:fill(false)
      for _ = 1, 20 do stream:turn() end
      assert.is_true(decode(coding, (sent(stream))) == input .. "x")
    end)

    it("tells its producer when the client has caught up, with nothing left to code", function()
      local stream = probe.stream(coding, { high_water = 3000, low_water = 1000 })
      stream:fill(true)
      stream:write(noise(5000))
      assert.equal("again", stream:flush())
      stream:on_drain()
      stream:turn()
      assert.equal(0, stream:state().drains)
      stream:fill(false)
      assert.equal(1, stream:state().drains)
      stream:fill(true)
      stream:write(noise(5000))
      stream:flush()
      stream:on_drain()
      stream:on_drain(false)
      assert.is_false(stream:state().asked)
    end)

    it("has another head and no body for HEAD (B29)", function()
      local stream = probe.stream(coding, { length = 5000, bodyless = true })
      assert.equal("ok", stream:finish_bodyless())
      assert.same({ "head -1 coded\r\n", "last " }, stream:log())
      local short = probe.stream(coding, { length = 5, bodyless = true })
      short:finish_bodyless()
      assert.same({ "head 5 plain\r\n", "last " }, short:log())
    end)

    it("says when the client has gone: at once, and at the next write", function()
      local stream = probe.stream(coding, {})
      stream:write(text(5000))
      stream:flush()
      stream:answer("closed")
      stream:write("x")
      assert.equal("closed", stream:flush())
      assert.equal("closed", stream:write("x"))
      local later = probe.stream(coding, {})
      later:lend(text(700000))
      later:on_drain()
      later:answer("closed")
      for _ = 1, 5 do later:turn() end
      assert.equal(1, later:state().drains)
      assert.equal(700000, later:state().released)
      later:write("x")
      assert.equal("closed", later:flush())
    end)

    it("tells of a failure where the end was awaited", function()
      local stream = probe.stream(coding, {})
      stream:lend(text(700000))
      stream:finish()
      assert.is_true(stream:busy())
      stream:answer("memory")
      for _ = 1, 3 do stream:turn() end
      assert.same({ true, "memory" }, { stream:state().told, stream:state().end_status })
    end)

    it("may go at any time, taking its wishes back", function()
      local stream = probe.stream(coding, { high_water = 1000 })
      stream:fill(true)
      stream:lend(noise(700000))
      stream:turn()
      stream:turn()
      assert.is_true(stream:state().asked)
      stream:on_drain()
      stream:free()
      assert.is_false(stream:state().asked)
      assert.equal(700000, stream:state().released)
      probe.stream(coding, {}):free()
    end)

    it("fails for lack of memory, whichever allocation it is (B69)", function()
      local input = text(50000)
      for n = 2, 3 do -- the first is the gather's
        probe.fail_at(n)
        assert.is_nil(probe.stream(coding, {}))
        probe.fail_at(0)
      end
      local failures = 0
      for n = 1, 40 do
        local stream = probe.stream(coding, {})
        probe.fail_at(n)
        local wrote, ended = stream:write(input), stream:finish()
        probe.fail_at(0)
        if ended == "ok" then
          assert.is_true(decode(coding, (sent(stream))) == input)
        else
          failures = failures + 1
          assert.is_true(wrote == "memory" or ended == "memory")
        end
        stream:free()
      end
      assert.is_true(failures > 0)
    end)
  end)
end

describe("Accept-Encoding", function()
  local ALL = { "zstd", "br", "gzip" }
  local rows = {
    { "identity" },
    { "identity", "" },
    { "gzip", "gzip" },
    { "gzip", "x-gzip" },
    { "br", "gzip, deflate, br" },
    { "zstd", "gzip, deflate, br, zstd" },
    { "gzip", "gzip;q=1.0, br;q=0.5" },
    { "br", "gzip;q=0.5,br ; Q=0.501" },
    { "zstd", "*" },
    { "br", "zstd;q=0, *" },
    { "identity", "*;q=0" },
    { "gzip", "*;q=0, gzip" },
    { "identity", "gzip;q=0" },
    { "identity", "gzip;q=0.000, identity" },
    { "gzip", "identity;q=0, gzip;q=0.001" },
    { "identity", "identity, gzip;q=0.9" },
    { "gzip", "identity;q=0.9, gzip;q=0.9" },
    { "identity", "deflate, compress" },
    { "gzip", "deflate", "GZIP" },
    { "br", "gzip;q=0.1", "br;q=0.2" },
    { "identity", "gzip;q=x" },
    { "identity", "gzip;q=" },
    { "identity", "gzip;q=0.x" },
    { "gzip", ",, gzip ,;" },
    { "gzip", "gzip;foo=bar;q=1" },
    { "identity", "gzipped" },
  }
  for _, row in ipairs(rows) do
    local lines = table.move(row, 2, #row, 1, {})
    it(("of %q means %s"):format(table.concat(lines, " | "), row[1]), function()
      assert.equal(row[1], probe.choose(lines, ALL))
    end)
  end

  it("leaves the choice among equals to whoever offers", function()
    assert.equal("gzip", probe.choose({ "br, gzip" }, { "gzip", "br" }))
    assert.equal("br", probe.choose({ "br, gzip" }, { "br", "gzip" }))
    assert.equal("identity", probe.choose({ "br" }, { "gzip" }))
  end)
end)
