-- event_spec.lua - text/event-stream, byte by byte.

local probe = require("probe_event")

--- The text of an event, whose buffer began with "<".
local function format(event)
  local text, _, status = probe.format(event)
  if status then
    assert.equal("<", text)
    return nil, status
  end
  return text:sub(2)
end

--- What a client makes of data: every line break is a line feed.
local function lines(data)
  return (data:gsub("\r\n", "\n"):gsub("\r", "\n"))
end

local function data_fields(data)
  return "data: " .. lines(data):gsub("\n", "\ndata: ") .. "\n\n"
end

describe("an event", function()
  it("is event, id, retry and data, in this order, and an empty line (B43)", function()
    assert.equal("event: tick\nid: 42\nretry: 3000\ndata: x\n\n",
      format({ event = "tick", id = "42", retry = 3000, data = "x" }))
    assert.equal("data: x\n\n", format({ data = "x" }))
    assert.equal("id: 1\n\n", format({ id = "1" }))
    assert.equal("retry: 0\n\n", format({ retry = 0 }))
  end)

  it("of which there is nothing is no byte (B43)", function()
    assert.equal("", format({}))
  end)

  it("has a data field for each line, whatever ends it (B43)", function()
    for data, wanted in pairs({
      [""] = "data: \n\n",
      ["a\nb"] = "data: a\ndata: b\n\n",
      ["a\r\nb"] = "data: a\ndata: b\n\n",
      ["a\rb"] = "data: a\ndata: b\n\n",
      ["a\n\rb"] = "data: a\ndata: \ndata: b\n\n",
      ["a\n"] = "data: a\ndata: \n\n",
      ["a\r\n"] = "data: a\ndata: \n\n",
      ["a\r"] = "data: a\ndata: \n\n",
      ["\n"] = "data: \ndata: \n\n",
      ["\r\r\n\n"] = "data: \ndata: \ndata: \ndata: \n\n",
      [" a\n: b"] = "data:  a\ndata: : b\n\n",
      ["a\0b"] = "data: a\0b\n\n",
    }) do
      assert.equal(wanted, format({ data = data }))
    end
  end)

  it("with an empty id has the field, at which clients forget the last one (B43)", function()
    assert.equal("id: \ndata: x\n\n", format({ id = "", data = "x" }))
  end)

  it("refuses line breaks and NUL in its name and id, and adds nothing (B44)", function()
    for _, c in ipairs({ "\r", "\n", "\0" }) do
      for _, value in ipairs({ c, "a" .. c, c .. "a", "a" .. c .. "b" }) do
        assert.same({ nil, "invalid" }, { format({ event = value, data = "x" }) })
        assert.same({ nil, "invalid" }, { format({ id = value, data = "x" }) })
      end
    end
  end)

  it("refuses a name or an id of more than 1024 bytes (B44)", function()
    local long = ("x"):rep(1024)
    assert.equal(("event: %s\nid: %s\n\n"):format(long, long), format({ event = long, id = long }))
    assert.same({ nil, "limit" }, { format({ event = long .. "x" }) })
    assert.same({ nil, "limit" }, { format({ id = long .. "x" }) })
  end)

  it("goes into a buffer whole or not at all", function()
    local event = { event = "tick", id = "42", retry = 1, data = "line\nline\nline" }
    local whole = "<" .. format(event)
    for cap = 1, #whole do
      local text, _, status = probe.format(event, cap)
      assert.same(cap < #whole and { "<", "limit" } or { whole }, { text, status })
    end
    event.data = ("x\n"):rep(1000)
    local n = 0
    repeat
      n = n + 1
      local text, _, status = probe.format(event, nil, n)
      assert.same(status and { "<", "memory" } or { "<" .. format(event) }, { text, status })
    until not status
    assert.is_true(n > 1)
  end)
end)

describe("data in pieces", function()
  it("is the same however it is split (B43)", function()
    for _, data in ipairs({ "a\r\nb", "\r\n\r\n", "a\r\r\n\n\rb", "x\r", "\r\n", "\n", "" }) do
      for first = 0, #data do
        for second = first, #data do
          assert.equal(data_fields(data), probe.pieces("data", data:sub(1, first),
            data:sub(first + 1, second), data:sub(second + 1)))
        end
      end
    end
  end)

  it("is one line where there is none (B43)", function()
    assert.equal("data: \n\n", probe.pieces("data"))
  end)

  it("of random bytes is the same as whole (B43)", function()
    math.randomseed(43)
    local letters = { "\r", "\n", "\r\n", "a", ":", " ", "\0", "é" }
    for _ = 1, 2000 do
      local pieces = {}
      for i = 1, math.random(0, 12) do
        pieces[i] = ""
        for _ = 1, math.random(0, 3) do
          pieces[i] = pieces[i] .. letters[math.random(#letters)]
        end
      end
      local data = table.concat(pieces)
      assert.equal(data_fields(data), probe.pieces("data", table.unpack(pieces)))
      assert.equal(data_fields(data), format({ data = data }))
    end
  end)
end)

describe("a comment", function()
  it("has a colon before each of its lines (B44)", function()
    assert.equal(": \n\n", probe.pieces("comment", ""))
    assert.equal(": a\n\n", probe.pieces("comment", "a"))
    assert.equal(": a\n: data: b\n: \n: c\n\n", probe.pieces("comment", "a\rdata: b\n\r\nc"))
  end)

  it("begins anew behind another's CR (B44)", function()
    assert.equal(": a\n: \n: \n: b\n\n", probe.pieces("comment", "a\r", "\nb"))
  end)
end)
