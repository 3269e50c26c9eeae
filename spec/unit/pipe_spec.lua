-- pipe_spec.lua - what joins a body's producer to whoever reads it.
local probe = require("probe_pipe")

--- All that there is to read, and the state after it.
local function drain(pipe)
  local parts = {}
  while true do
    local state, data = pipe:peek()
    if state ~= "data" then return table.concat(parts), state end
    parts[#parts + 1] = data
    pipe:consume(#data)
  end
end

describe("a pipe", function()
  it("gives what was written, in order, and then the end", function()
    local pipe = probe.new({ gather = 4096, high_water = 1 << 20 })
    local wanted = {} -- which keeps what is lent
    for i = 1, 400 do
      local text = ("%d,"):format(i):rep(i * 37 % 200 + 1)
      if i % 50 == 0 then text = text:rep(300) end
      wanted[i] = text
      pipe[i % 3 == 0 and "lend" or "write"](pipe, text)
      if i % 7 == 0 then pipe:flush() end
    end
    assert.equal("ok", pipe:finish())
    local text, state = drain(pipe)
    assert.equal("end", state)
    assert.is_true(text == table.concat(wanted))
  end)

  it("may be read a byte at a time, while it is written", function()
    local pipe = probe.new({})
    local got = {}
    for i = 1, 3000 do
      pipe:write(("%d;"):format(i))
      pipe:flush()
      for _ = 1, 4 do
        local state, data = pipe:peek()
        if state == "data" then
          got[#got + 1] = data:sub(1, 1)
          pipe:consume(1)
        end
      end
    end
    pipe:finish()
    local wanted = {}
    for i = 1, 3000 do wanted[i] = ("%d;"):format(i) end
    assert.is_true(table.concat(got) .. drain(pipe) == table.concat(wanted))
  end)

  it("has nothing to read before its producer flushes", function()
    local pipe = probe.new({})
    pipe:write("abc")
    assert.equal("wait", pipe:peek())
    pipe:flush()
    assert.same({ "data", "abc" }, { pipe:peek() })
  end)

  it("knows the length of what ended before anything was flushed", function()
    local pipe = probe.new({})
    pipe:write("abc")
    assert.equal(-1, pipe:state().length)
    pipe:finish()
    assert.equal(3, pipe:state().length)
  end)

  it("tells its reader once, from the loop, that there is something (B11)", function()
    local pipe = probe.new({})
    pipe:wait()
    pipe:turn()
    assert.equal(0, pipe:state().reads)
    pipe:write("a")
    pipe:flush()
    assert.equal(0, pipe:state().reads)
    pipe:turn()
    assert.equal(1, pipe:state().reads)
    pipe:write("b")
    pipe:flush()
    pipe:turn()
    assert.equal(1, pipe:state().reads)
    pipe:wait()
    pipe:turn()
    assert.equal(2, pipe:state().reads)
    drain(pipe)
    pipe:wait()
    pipe:finish()
    pipe:turn()
    assert.equal(3, pipe:state().reads)
    pipe:wait()
    pipe:wait(false)
    pipe:turn()
    assert.equal(3, pipe:state().reads)
  end)

  it("holds its producer back, until the reader has caught up (B20)", function()
    local pipe = probe.new({ gather = 4096, high_water = 8000, low_water = 1000 })
    assert.equal("ok", pipe:write(("x"):rep(4096)))
    assert.equal("ok", pipe:write(("x"):rep(4096)))
    assert.equal("again", pipe:write(("x"):rep(4096)))
    pipe:on_drain()
    pipe:turn()
    assert.equal(0, pipe:state().drains)
    pipe:consume(4096)
    pipe:turn()
    assert.equal(0, pipe:state().drains)
    pipe:consume(3200)
    assert.equal(0, pipe:state().drains)
    pipe:turn()
    assert.equal(1, pipe:state().drains)
    assert.equal("ok", pipe:write("y"))
  end)

  it("tells the reader of a failure after the bytes before it (B33)", function()
    local pipe = probe.new({})
    pipe:write("abc")
    pipe:flush()
    pipe:wait()
    pipe:fail()
    pipe:turn()
    assert.equal(1, pipe:state().reads)
    assert.same({ "abc", "failed" }, { drain(pipe) })
    pipe:finish()
    assert.equal("failed", pipe:peek())
  end)

  it("takes nothing more once its reader has closed it, and says so (B15)", function()
    local pipe = probe.new({ high_water = 1000 })
    local text = ("x"):rep(20000)
    pipe:lend(text)
    pipe:on_drain()
    pipe:close()
    assert.same({ 0, 20000 }, { pipe:state().waiting, pipe:state().released })
    assert.equal("failed", pipe:peek())
    pipe:turn()
    assert.equal(1, pipe:state().drains)
    pipe:write("y")
    assert.equal("closed", pipe:flush())
    local other = probe.new({})
    other:close()
    assert.equal("closed", other:lend(text))
    assert.equal(20000, other:state().released)
  end)

  it("may end in either callback, and by itself, with bytes in it", function()
    for _, wish in ipairs({ "wait", "on_drain" }) do
      local pipe = probe.new({ high_water = 10, low_water = 100000 })
      local text = ("x"):rep(20000)
      pipe:lend(text)
      pipe:end_soon()
      pipe:wait()
      pipe[wish](pipe)
      pipe:turn()
      pipe:turn()
      local state = pipe:state()
      assert.same({ false, 20000, 1 }, { state.live, state.released, state.reads + state.drains })
    end
    local pipe = probe.new({})
    pipe:write("x")
    pipe:wait()
    pipe:flush()
    pipe:free()
    pipe:turn()
    assert.equal(0, pipe:state().reads)
  end)

  it("takes all of a write or, without memory, none of it (B69)", function()
    local text = ("x"):rep(20000)
    for _, way in ipairs({ "write", "lend" }) do
      local pipe = probe.new({})
      probe.fail_at(1)
      assert.equal("memory", pipe[way](pipe, text))
      probe.fail_at(0)
      assert.equal(way == "lend" and 20000 or 0, pipe:state().released)
      assert.equal("wait", pipe:peek())
    end
  end)
end)
