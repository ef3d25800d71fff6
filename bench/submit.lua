-- What wrk asks of /generate: each request another prompt. Every id that was answered goes into the file `ids`, which
-- whoever writes the script names before this text.
local number = 0
local kept = io.open(ids, "a")
kept:setvbuf("line")

wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"

request = function()
  number = number + 1
  return wrk.format(nil, nil, nil, string.format('{"prompt":"a lighthouse, number %07d","model":"tiny"}', number))
end

response = function(status, headers, body)
  if status == 202 then
    kept:write(body:match('"job_id":"([^"]+)"'), "\n")
  end
end
