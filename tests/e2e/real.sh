#!/bin/bash
# Real servers with worker processes of their own: started, serving, restarted when killed, gone when stopped.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

python=$(python3 -c 'import sys; print(sys.executable)')
# Two free ports: nginx does not bind a unix socket that a killed one has left.
read -r port nginx_port <<<"$(python3 -c 'import socket
s = [socket.socket() for i in range(2)]
for x in s:
    x.bind(("127.0.0.1", 0))
print(*(x.getsockname()[1] for x in s))')"
mkdir -p "$T/www" "$T/nginx" "$T/redis"
echo "hello from $ID" >"$T/www/hello.txt"
programs=(http)
config <<X
[program:http]
command=$python -m http.server $port --bind 127.0.0.1
directory=$T/www
stdout_logfile=$T/http.log
redirect_stderr=true
startsecs=0
X
if command -v nginx >/dev/null; then
  programs+=(nginx)
  cat >"$T/nginx/nginx.conf" <<X
daemon off;
worker_processes 2;
pid $T/nginx/pid;
error_log stderr;
$([ "$(id -u)" != 0 ] || echo "user root;")
events { }
http {
  access_log off;
  client_body_temp_path $T/nginx/1; proxy_temp_path $T/nginx/2; fastcgi_temp_path $T/nginx/3;
  uwsgi_temp_path $T/nginx/4; scgi_temp_path $T/nginx/5;
  server { listen 127.0.0.1:$nginx_port; root $T/www; }
}
X
  cat >>"$CONF" <<X
[program:nginx]
command=$(command -v nginx) -e stderr -p $T/nginx -c $T/nginx/nginx.conf
stopsignal=QUIT
startsecs=1
X
fi
if command -v redis-server >/dev/null; then
  programs+=(redis)
  cat >>"$CONF" <<X
[program:redis]
command=$(command -v redis-server) --port 0 --unixsocket $T/redis.sock --save "" --dir $T/redis
startsecs=1
X
fi

cat >"$T/ask.py" <<'X'
import socket, sys
def unix(path, text):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(2)
    s.connect(path)
    s.sendall(text)
    return s.recv(4096)
def http(port):
    s = socket.create_connection(("127.0.0.1", int(port)), 2)
    s.sendall(b"GET /hello.txt HTTP/1.0\r\n\r\n")
    return b"".join(iter(lambda: s.recv(4096), b""))
t = sys.argv[2]
try:
    a = {"http": lambda: http(sys.argv[3]), "nginx": lambda: http(sys.argv[4]),
         "redis": lambda: unix(t + "/redis.sock", b"PING\r\n")}[sys.argv[1]]()
except OSError:
    sys.exit(1)
sys.exit(not (b" 200 " in a or b"PONG" in a))
X
serves() {
  python3 "$T/ask.py" "$1" "$T" "$port" "$nginx_port"
}

family() { # pid: it and its children, nginx's workers
  echo "$1"
  pgrep -P "$1"
}

start_mpsup
for p in "${programs[@]}"; do
  say "$p serves, also after its process was killed and after a restart"
  must serves "$p"
  pid=$(pid_of "$p")
  family "$pid" >"$T/old"
  kill -KILL "$pid"
  must -t 15 serves "$p"
  must all_gone "$T/old"
  must in_state "$p" RUNNING
  [ "$(pid_of "$p")" != "$pid" ] || fail "$p has the pid of the killed one"
  family "$(pid_of "$p")" >"$T/old"
  mps_expect 0 restart "$p"
  all_gone "$T/old" || fail "a process of the old $p lives on after restart"
  must serves "$p"
done

if [[ " ${programs[*]} " == *" nginx "* ]]; then
  say "nginx: a killed worker is its master's matter"
  pid=$(pid_of nginx)
  kill -KILL "$(pgrep -P "$pid" | head -n 1)"
  must serves nginx
  [ "$(pid_of nginx)" = "$pid" ] || fail "the master was restarted"
  two_workers() { [ "$(pgrep -c -P "$pid")" = 2 ]; }
  must two_workers
  family "$pid" >"$T/old"
  mps_expect 0 stop nginx
  all_gone "$T/old" || fail "a worker of nginx lives on after stop"
  mps_expect 0 start nginx
  must serves nginx
fi

say "stop ends all of them, workers included"
mps_expect 0 stop all
no_programs || { show_left && fail "left after stop all"; }
shutdown_mpsup
