/*
 * The life of a service, without a process: scripts of events against what the machine does, logs and tells.
 */
#include "../svc_script.h"

/* "TERM>MAIN" is a signal and whom it is for, "@1000" a timer in a second, a word in capitals a state entered. */
static const struct {
	const char *claim;
	const char *settings;
	const char *script;
	const char *does;
} lives[] = {
	/* starting */
	{ "a start waits for exec, then for startsecs", NULL, "start +5 up timer",
	  "STARTING @1000 RUNNING" },
	{ "startsecs=0 is RUNNING at exec", "startsecs=0", "start up", "STARTING RUNNING" },
	{ "a second start is ignored", NULL, "start start up start timer start",
	  "STARTING @1000 RUNNING" },
	{ "a timer that fires early is armed again", NULL, "start up +400 tick timer",
	  "STARTING @1000 @600 RUNNING" },
	{ "a timer that is not armed is ignored", NULL, "tick start tick", "STARTING" },
	{ "a second STARTED is ignored", NULL, "start up +500 up", "STARTING @1000" },
	/* ready=notify */
	{ "with ready=notify a word makes it RUNNING", "notify=1 timeout_ms=5000",
	  "start up +100 ready", "@5000 STARTING RUNNING" },
	{ "which may come before exec is known", "notify=1 timeout_ms=5000", "start ready up",
	  "@5000 STARTING RUNNING" },
	{ "and is not kept for the next start", "notify=1 timeout_ms=5000",
	  "start ready nospawn timer up", "@5000 STARTING @1000 BACKOFF @5000 STARTING" },
	{ "nothing is waited for without a limit", "notify=1", "start up +999999 tick ready",
	  "STARTING RUNNING" },
	{ "no word in time is a stop and a failed start", "notify=1 timeout_ms=5000",
	  "start up timer sig:15",
	  "@5000 STARTING TERM>MAIN CONT>MAIN @10000 STOPPING @1000 BACKOFF" },
	{ "also where nobody could have said it yet", "notify=1 timeout_ms=5000",
	  "start timer up sig:15",
	  "@5000 STARTING TERM>MAIN CONT>MAIN @10000 STOPPING @1000 BACKOFF" },
	{ "or was there to be ended", "notify=1 timeout_ms=5000", "start timer nospawn",
	  "@5000 STARTING TERM>MAIN CONT>MAIN @10000 STOPPING @1000 BACKOFF" },
	{ "nor could be", "notify=1 timeout_ms=5000", "start timer busy",
	  "@5000 STARTING TERM>MAIN CONT>MAIN @10000 STOPPING @1000 BACKOFF" },
	{ "unless a stop meanwhile wants no more", "notify=1 timeout_ms=5000",
	  "start timer stop nospawn",
	  "@5000 STARTING TERM>MAIN CONT>MAIN @10000 STOPPING STOPPED" },
	{ "who does not end then is killed", "notify=1 timeout_ms=5000",
	  "start up timer timer sig:9",
	  "@5000 STARTING TERM>MAIN CONT>MAIN @10000 STOPPING KILL>TREE @10000 @1000 BACKOFF" },
	{ "a stop meanwhile means STOPPED", "notify=1 timeout_ms=5000",
	  "start up timer stop exit:0",
	  "@5000 STARTING TERM>MAIN CONT>MAIN @10000 STOPPING STOPPED" },
	{ "an end before the word is one of a start, whatever the code", "notify=1 timeout_ms=500",
	  "start up +499 exit:0", "@500 STARTING @1000 BACKOFF" },
	{ "even after the time", "notify=1 timeout_ms=500", "start up +600 exit:0",
	  "@500 STARTING @1000 BACKOFF" },
	{ "a word with ready=time changes nothing", NULL, "start ready up ready timer ready",
	  "STARTING @1000 RUNNING" },
	{ "it may need longer", "notify=1 timeout_ms=5000", "start up +1000 extend timer",
	  "@5000 STARTING @20000 TERM>MAIN CONT>MAIN @10000 STOPPING" },
	{ "but not shorter", "notify=1 timeout_ms=50000", "start up extend ready",
	  "@50000 STARTING RUNNING" },
	{ "it may say so before it is known to be there", "notify=1 timeout_ms=5000",
	  "start extend +1000 up sig:15 timer up",
	  "@5000 STARTING @20000 @1000 BACKOFF @5000 STARTING" },
	{ "nor then shorter", "notify=1 timeout_ms=50000", "start extend up ready",
	  "@50000 STARTING RUNNING" },
	{ "to stop, too", NULL, "start up timer stop +1000 extend timer extend",
	  "STARTING @1000 RUNNING TERM>MAIN CONT>MAIN @10000 STOPPING @20000 KILL>TREE @10000" },
	/* forkservers */
	{ "a forkserver that does not start it in time is a failed start",
	  "server=1 timeout_ms=5000", "start timer nospawn",
	  "@5000 STARTING TERM>MAIN CONT>MAIN @10000 STOPPING @1000 BACKOFF" },
	{ "also where it does after all", "server=1 timeout_ms=5000", "start timer up sig:15",
	  "@5000 STARTING TERM>MAIN CONT>MAIN @10000 STOPPING @1000 BACKOFF" },
	{ "in time, startsecs count from then on", "server=1 timeout_ms=5000",
	  "start +4999 up timer", "@5000 STARTING @1000 RUNNING" },
	{ "or there is nothing more to wait for", "server=1 timeout_ms=5000 startsecs=0",
	  "start +4999 up", "@5000 STARTING RUNNING" },
	{ "an end is that of a start even after the time", "server=1 timeout_ms=500",
	  "start +600 exit:0", "@500 STARTING @1000 BACKOFF" },
	{ "and without a limit it waits", "server=1", "start +999999 tick up timer",
	  "STARTING @1000 RUNNING" },
	/* watchdog */
	{ "a watchdog waits anew after each word", "watchdog_ms=3000 startsecs=0",
	  "start up +2000 alive +2000 alive", "STARTING @3000 RUNNING @3000 @3000" },
	{ "silence is SIGABRT and a restart", "watchdog_ms=3000 startsecs=0",
	  "start up timer core:6",
	  "STARTING @3000 RUNNING ABRT>MAIN CONT>MAIN @10000 STOPPING EXITED STARTING" },
	{ "whatever it makes of that", "watchdog_ms=3000 startsecs=0", "start up timer exit:0",
	  "STARTING @3000 RUNNING ABRT>MAIN CONT>MAIN @10000 STOPPING EXITED STARTING" },
	{ "but for autorestart=false", "watchdog_ms=3000 startsecs=0 autorestart=0",
	  "start up timer timer sig:9",
	  "STARTING @3000 RUNNING ABRT>MAIN CONT>MAIN @10000 STOPPING KILL>TREE @10000 EXITED" },
	{ "a word with no watchdog is nothing", "startsecs=0", "alive start alive up alive",
	  "STARTING RUNNING" },
	/* stop_method=message */
	{ "a question, and the signal after half the time", "message=1 startsecs=0",
	  "start up stop timer timer sig:9",
	  "STARTING RUNNING ASK @5000 STOPPING TERM>MAIN CONT>MAIN @5000 KILL>TREE @10000 "
	  "STOPPED" },
	{ "a question is enough", "message=1 startsecs=0", "start up restart exit:0",
	  "STARTING RUNNING ASK @5000 STOPPING STOPPED STARTING" },
	{ "who cannot be asked gets the signal", "message=1 startsecs=0 deaf=1", "start up stop",
	  "STARTING RUNNING TERM>MAIN CONT>MAIN @10000 STOPPING" },
	{ "a kill is no question", "message=1 startsecs=0", "start up stop kill",
	  "STARTING RUNNING ASK @5000 STOPPING KILL>TREE @10000" },
	{ "nor is a signal sent to what is left of it", "message=1 startsecs=0",
	  "start up stop exit:0+ timer timer",
	  "STARTING RUNNING ASK @5000 STOPPING @5000 KILL>TREE @10000" },
	/* too early, too often */
	{ "an end before startsecs is BACKOFF, whatever the code", NULL, "start up +900 exit:0",
	  "STARTING @1000 @1000 BACKOFF" },
	{ "an end after startsecs that comes before its timer is one of a run", NULL,
	  "start up +1000 exit:0", "STARTING @1000 RUNNING EXITED" },
	{ "waits grow by a second, and startretries=3 means four tries", NULL,
	  "start nospawn timer nospawn timer nospawn timer nospawn",
	  "STARTING @1000 BACKOFF STARTING @2000 BACKOFF STARTING @3000 BACKOFF STARTING "
	  "BACKOFF FATAL" },
	{ "startretries=0 means one try", "startretries=0", "start up exit:1",
	  "STARTING @1000 BACKOFF FATAL" },
	{ "RUNNING begins a new count of tries", NULL,
	  "start nospawn timer nospawn timer up timer exit:1 nospawn",
	  "STARTING @1000 BACKOFF STARTING @2000 BACKOFF STARTING @1000 RUNNING EXITED "
	  "STARTING @1000 BACKOFF" },
	{ "FATAL is left by a request only", "startretries=0",
	  "start nospawn tick relief gone stop start", "STARTING BACKOFF FATAL STARTING" },
	{ "a start in BACKOFF is at once and counts anew", NULL,
	  "start nospawn timer nospawn start nospawn",
	  "STARTING @1000 BACKOFF STARTING @2000 BACKOFF STARTING @1000 BACKOFF" },
	{ "a restart in BACKOFF is a start", NULL, "start nospawn restart",
	  "STARTING @1000 BACKOFF STARTING" },
	{ "a stop in BACKOFF forgets the count", NULL,
	  "start nospawn timer nospawn stop start nospawn",
	  "STARTING @1000 BACKOFF STARTING @2000 BACKOFF STOPPED STARTING @1000 BACKOFF" },
	{ "a kill in BACKOFF is a stop", NULL, "start nospawn kill",
	  "STARTING @1000 BACKOFF STOPPED" },
	{ "an early timer in BACKOFF starts nothing", NULL, "start nospawn +300 tick",
	  "STARTING @1000 BACKOFF @700" },
	/* no resources */
	{ "lack of a resource doubles its own wait up to less than a second", NULL,
	  "start busy timer busy timer busy timer busy timer busy timer busy timer busy",
	  "STARTING @50 BACKOFF STARTING @100 BACKOFF STARTING @200 BACKOFF STARTING @400 BACKOFF "
	  "STARTING @800 BACKOFF STARTING @800 BACKOFF STARTING @800 BACKOFF" },
	{ "lack of a resource is no try", "startretries=0", "start busy timer busy timer up",
	  "STARTING @50 BACKOFF STARTING @100 BACKOFF STARTING @1000" },
	{ "relief tries at once", NULL, "start busy relief", "STARTING @50 BACKOFF STARTING" },
	{ "relief does not shorten another wait", NULL, "start nospawn relief",
	  "STARTING @1000 BACKOFF" },
	{ "nor one that came after a lack of resources", NULL, "start busy timer nospawn relief",
	  "STARTING @50 BACKOFF STARTING @1000 BACKOFF" },
	/* ends of runs */
	{ "an expected code is the end", NULL, "start up timer exit:0",
	  "STARTING @1000 RUNNING EXITED" },
	{ "an unexpected code is started again at once", NULL, "start up timer exit:1",
	  "STARTING @1000 RUNNING EXITED STARTING" },
	{ "exitcodes= decides what is expected", "exitcode=3",
	  "start up timer exit:0 up timer exit:3",
	  "STARTING @1000 RUNNING EXITED STARTING @1000 RUNNING EXITED" },
	{ "a signal is never expected", NULL, "start up timer sig:15",
	  "STARTING @1000 RUNNING EXITED STARTING" },
	{ "autorestart=true starts again after any code", "autorestart=1", "start up timer exit:0",
	  "STARTING @1000 RUNNING EXITED STARTING" },
	{ "autorestart=false starts nothing again", "autorestart=0", "start up timer sig:11",
	  "STARTING @1000 RUNNING EXITED" },
	{ "EXITED can be started", NULL, "start up timer exit:0 start",
	  "STARTING @1000 RUNNING EXITED STARTING" },
	/* trees */
	{ "a left-over tree is waited for, then the policy decides", NULL,
	  "start up timer exit:1+ tick gone", "STARTING @1000 RUNNING STOPPING EXITED STARTING" },
	{ "a left-over tree of an expected end", NULL, "start up timer exit:0+ gone",
	  "STARTING @1000 RUNNING STOPPING EXITED" },
	{ "a left-over tree of an early end leads to BACKOFF", NULL, "start up exit:0+ +2000 gone",
	  "STARTING @1000 STOPPING @1000 BACKOFF" },
	{ "a stop while a tree is left means STOPPED", "autorestart=1",
	  "start up timer exit:1+ stop gone", "STARTING @1000 RUNNING STOPPING STOPPED" },
	{ "a start while a tree is left starts after it", "autorestart=0",
	  "start up timer exit:1+ start gone", "STARTING @1000 RUNNING STOPPING STOPPED STARTING" },
	{ "a stop while a tree is left takes back the start", "autorestart=1",
	  "start up timer exit:1+ start stop gone", "STARTING @1000 RUNNING STOPPING STOPPED" },
	{ "a kill while a tree is left kills the tree", NULL, "start up timer exit:1+ kill gone",
	  "STARTING @1000 RUNNING STOPPING KILL>TREE STOPPED" },
	{ "a stopped main process may leave a tree", NULL, "start up timer stop sig:15+ tick gone",
	  "STARTING @1000 RUNNING TERM>MAIN CONT>MAIN @10000 STOPPING @10000 STOPPED" },
	{ "stopwaitsecs goes on for the tree that the main process left", NULL,
	  "start up timer stop sig:15+ timer gone",
	  "STARTING @1000 RUNNING TERM>MAIN CONT>MAIN @10000 STOPPING KILL>TREE @10000 STOPPED" },
	{ "GONE without a left-over tree is ignored", NULL, "gone start gone up gone timer gone",
	  "STARTING @1000 RUNNING" },
	{ "an end that nobody expects is ignored", NULL, "exit:1 sig:9+ gone", "" },
	/* stopping */
	{ "a stop is stopsignal, SIGCONT and a time limit", NULL, "start up timer stop sig:15",
	  "STARTING @1000 RUNNING TERM>MAIN CONT>MAIN @10000 STOPPING STOPPED" },
	{ "a stop in STARTING is the same", "stopsignal=2 stopwaitsecs=5", "start up stop exit:0",
	  "STARTING @1000 INT>MAIN CONT>MAIN @5000 STOPPING STOPPED" },
	{ "a stop before exec is known sends signals too", NULL, "start stop up sig:15",
	  "STARTING TERM>MAIN CONT>MAIN @10000 STOPPING STOPPED" },
	{ "a stop before a failed exec", NULL, "start stop nospawn",
	  "STARTING TERM>MAIN CONT>MAIN @10000 STOPPING STOPPED" },
	{ "a stop before a start that lacks resources", NULL, "start stop busy relief",
	  "STARTING TERM>MAIN CONT>MAIN @10000 STOPPING STOPPED" },
	{ "an answer to a start is none once exec is known", NULL, "start up stop nospawn busy",
	  "STARTING @1000 TERM>MAIN CONT>MAIN @10000 STOPPING" },
	{ "nor while a tree is left", NULL, "start up exit:0+ nospawn busy up",
	  "STARTING @1000 STOPPING" },
	{ "a restart before a start that lacks resources", NULL, "start restart busy",
	  "STARTING TERM>MAIN CONT>MAIN @10000 STOPPING STOPPED STARTING" },
	{ "stopasgroup sends to the group", "stopasgroup=1", "start up timer stop",
	  "STARTING @1000 RUNNING TERM>GROUP CONT>GROUP @10000 STOPPING" },
	{ "stopsignal=KILL needs no SIGCONT", "stopsignal=9", "start up timer stop",
	  "STARTING @1000 RUNNING KILL>MAIN @10000 STOPPING" },
	{ "SIGKILL to the tree after stopwaitsecs, again and again", NULL,
	  "start up timer stop timer timer sig:9",
	  "STARTING @1000 RUNNING TERM>MAIN CONT>MAIN @10000 STOPPING KILL>TREE @10000 KILL>TREE "
	  "@10000 STOPPED" },
	{ "stopwaitsecs=0 kills at once, and then once a second", "stopwaitsecs=0",
	  "start up timer stop tick timer",
	  "STARTING @1000 RUNNING TERM>MAIN CONT>MAIN @0 STOPPING KILL>TREE @1000 KILL>TREE "
	  "@1000" },
	{ "kill_mode=group ends the group", "kill_mode=1", "start up timer stop timer",
	  "STARTING @1000 RUNNING TERM>GROUP CONT>GROUP @10000 STOPPING KILL>GROUP @10000" },
	{ "kill_mode=process ends the main process", "kill_mode=2", "start up timer stop timer",
	  "STARTING @1000 RUNNING TERM>MAIN CONT>MAIN @10000 STOPPING KILL>MAIN @10000" },
	{ "killasgroup counts in kill_mode=process", "kill_mode=2 killasgroup=1",
	  "start up timer stop timer",
	  "STARTING @1000 RUNNING TERM>MAIN CONT>MAIN @10000 STOPPING KILL>GROUP @10000" },
	{ "an early timer in STOPPING kills nothing", NULL, "start up timer stop +4000 tick",
	  "STARTING @1000 RUNNING TERM>MAIN CONT>MAIN @10000 STOPPING @6000" },
	{ "a kill is SIGKILL now", NULL, "start up timer kill sig:9",
	  "STARTING @1000 RUNNING KILL>TREE @10000 STOPPING STOPPED" },
	{ "a kill while stopping is SIGKILL now", NULL, "start up timer stop +2000 kill sig:9",
	  "STARTING @1000 RUNNING TERM>MAIN CONT>MAIN @10000 STOPPING KILL>TREE @10000 STOPPED" },
	{ "a kill takes back a start", NULL, "start up timer restart +2000 kill sig:9",
	  "STARTING @1000 RUNNING TERM>MAIN CONT>MAIN @10000 STOPPING KILL>TREE @10000 STOPPED" },
	{ "stopped means stopped, even with autorestart", "autorestart=1",
	  "start up timer stop exit:1 tick stop kill", /* and further requests do nothing */
	  "STARTING @1000 RUNNING TERM>MAIN CONT>MAIN @10000 STOPPING STOPPED" },
	{ "a restart is a stop and a start", NULL, "start up timer restart exit:0 up",
	  "STARTING @1000 RUNNING TERM>MAIN CONT>MAIN @10000 STOPPING STOPPED STARTING @1000" },
	{ "a restart of what is stopped is a start", NULL, "restart", "STARTING" },
	{ "a start while stopping starts after it", NULL, "start up timer stop start exit:0",
	  "STARTING @1000 RUNNING TERM>MAIN CONT>MAIN @10000 STOPPING STOPPED STARTING" },
	{ "a stop takes back a restart", NULL, "start up timer restart stop exit:0",
	  "STARTING @1000 RUNNING TERM>MAIN CONT>MAIN @10000 STOPPING STOPPED" },
	/* delays of our own */
	{ "restart_delay doubles up to restart_delay_max", "delay_ms=100 delay_max_ms=300",
	  "start nospawn timer nospawn timer nospawn timer nospawn",
	  "STARTING @100 BACKOFF STARTING @200 BACKOFF STARTING @300 BACKOFF STARTING BACKOFF "
	  "FATAL" },
	{ "restart_delay delays a restart after a run", "delay_ms=100",
	  "start up timer exit:1 timer up timer exit:1",
	  "STARTING @1000 RUNNING EXITED @100 BACKOFF STARTING @1000 RUNNING EXITED @200 BACKOFF" },
	{ "a long run ends the doubling", "delay_ms=100 delay_max_ms=3000",
	  "start up timer exit:1 timer up timer +2001 exit:1",
	  "STARTING @1000 RUNNING EXITED @100 BACKOFF STARTING @1000 RUNNING EXITED @100 "
	  "BACKOFF" },
	{ "an early end does not shorten the wait of a streak", "delay_ms=100",
	  "start up timer exit:1 timer up exit:1",
	  "STARTING @1000 RUNNING EXITED @100 BACKOFF STARTING @1000 @200 BACKOFF" },
	{ "restart_delay=0 is at once, as often as startretries allows",
	  "delay_ms=0 startretries=1", "start nospawn nospawn",
	  "STARTING BACKOFF STARTING BACKOFF FATAL" },
	{ "restart_delay=0 restarts at once", "delay_ms=0", "start up timer exit:1",
	  "STARTING @1000 RUNNING EXITED STARTING" },
	{ "startretries=infinite waits a second, doubling", "startretries=-1",
	  "start nospawn timer nospawn timer nospawn",
	  "STARTING @1000 BACKOFF STARTING @2000 BACKOFF STARTING @4000 BACKOFF" },
	{ "for ever and at once rests all the same", "delay_ms=0 startretries=-1",
	  "start nospawn nospawn timer nospawn",
	  "STARTING BACKOFF STARTING @50 BACKOFF STARTING @100 BACKOFF" },
	{ "a request begins a new streak", "delay_ms=100",
	  "start up timer exit:1 timer up timer stop exit:0 start up timer exit:1",
	  "STARTING @1000 RUNNING EXITED @100 BACKOFF STARTING @1000 RUNNING TERM>MAIN CONT>MAIN "
	  "@10000 STOPPING STOPPED STARTING @1000 RUNNING EXITED @100 BACKOFF" },
	/* restart_limit */
	{ "one restart more than restart_limit is FATAL", "startsecs=0 limit=2 limit_secs=10",
	  "start up exit:1 up exit:1 up exit:1",
	  "STARTING RUNNING EXITED STARTING RUNNING EXITED STARTING RUNNING EXITED FATAL" },
	{ "restart_limit counts in its seconds only", "startsecs=0 limit=1 limit_secs=10",
	  "start up exit:1 up +10001 exit:1 up exit:1",
	  "STARTING RUNNING EXITED STARTING RUNNING EXITED STARTING RUNNING EXITED FATAL" },
	{ "restart_limit holds in any span of its seconds, not from one start to the next",
	  "startsecs=0 limit=2 limit_secs=10",
	  "start up exit:1 up +9000 exit:1 up +1001 exit:1 up exit:1",
	  "STARTING RUNNING EXITED STARTING RUNNING EXITED STARTING RUNNING EXITED STARTING "
	  "RUNNING EXITED FATAL" },
	{ "another main process gets what was sent to the one before, once", NULL,
	  "start main up main timer stop main",
	  "STARTING @1000 RUNNING TERM>MAIN CONT>MAIN @10000 STOPPING" },
	{ "one that is named while it is stopped gets the signal", NULL,
	  "start up timer stop main main",
	  "STARTING @1000 RUNNING TERM>MAIN CONT>MAIN @10000 STOPPING TERM>MAIN CONT>MAIN" },
	{ "or SIGKILL, when it is late", "kill_mode=2", "start up timer stop timer main",
	  "STARTING @1000 RUNNING TERM>MAIN CONT>MAIN @10000 STOPPING KILL>MAIN @10000 KILL>MAIN" },
	{ "or nothing, when it was asked in words", "message=1", "start up timer stop main",
	  "STARTING @1000 RUNNING ASK @5000 STOPPING" },
	{ "a request begins a new count for restart_limit", "startsecs=0 limit=1 limit_secs=10",
	  "start up exit:1 up restart sig:15 up exit:1",
	  "STARTING RUNNING EXITED STARTING RUNNING TERM>MAIN CONT>MAIN @10000 STOPPING STOPPED "
	  "STARTING RUNNING EXITED STARTING" },
	{ "but its own does not", "startsecs=0 limit=1 limit_secs=10",
	  "start up again sig:15 up again sig:15",
	  "STARTING RUNNING TERM>MAIN CONT>MAIN @10000 STOPPING STOPPED STARTING RUNNING TERM>MAIN "
	  "CONT>MAIN @10000 STOPPING STOPPED FATAL" },
	{ "a request is more than its own wish", "startsecs=0 limit=1 limit_secs=10",
	  "start up exit:1 up again start sig:15 up exit:1",
	  "STARTING RUNNING EXITED STARTING RUNNING TERM>MAIN CONT>MAIN @10000 STOPPING STOPPED "
	  "STARTING RUNNING EXITED STARTING" },
};

Test(svc, lives)
{
	for (size_t i = 0; i < ARRAY_SIZE(lives); i++) {
		struct world w;

		play(&w, lives[i].settings, lives[i].script);
		if (w.trace.len > 0)
			w.trace.p[--w.trace.len] = '\0';
		cr_expect_str_eq(w.trace.p ? w.trace.p : "", lives[i].does, "%s\n is: %s\nnot: %s",
				 lives[i].claim, w.trace.p, lives[i].does);
		world_fini(&w);
	}
}

static const struct {
	const char *claim;
	const char *settings;
	const char *script;
	const char *line; /* the last one */
} lines[] = {
	{ "spawned", NULL, "start up", "INFO spawned: 'web' with pid 42" },
	{ "success", NULL, "start up timer",
	  "INFO success: web entered RUNNING state, process has stayed up for > than 1 seconds "
	  "(startsecs)" },
	{ "too early, though the code is expected", NULL, "start up exit:0",
	  "WARN exited: web (exit status 0; not expected)" },
	{ "expected", NULL, "start up timer exit:0", "INFO exited: web (exit status 0; expected)" },
	{ "unexpected", NULL, "start up timer exit:1",
	  "WARN exited: web (exit status 1; not expected)" },
	{ "core", NULL, "start up timer core:11",
	  "WARN exited: web (terminated by SIGSEGV (core dumped); not expected)" },
	{ "an unknown signal has its number", NULL, "start up timer sig:99",
	  "WARN exited: web (terminated by signal 99; not expected)" },
	{ "spawnerr", NULL, "start nospawn", "INFO spawnerr: web: no such file" },
	{ "gave up", "startretries=0", "start nospawn",
	  "INFO gave up: web entered FATAL state, too many start retries too quickly" },
	{ "gave up by restart_limit", "startsecs=0 limit=1 limit_secs=60",
	  "start up exit:1 up exit:1",
	  "INFO gave up: web entered FATAL state, 1 restarts in 60 seconds (restart_limit)" },
	{ "another main process", NULL, "start main up main main",
	  "INFO the main process of web is pid 43 now" },
	{ "waiting", NULL, "start up timer stop", "INFO waiting for web to stop" },
	{ "killing", NULL, "start up timer stop timer", "WARN killing 'web' (42) with SIGKILL" },
	{ "killing before exec is known", NULL, "start kill", "WARN killing 'web' with SIGKILL" },
	{ "exec may become known while stopping", NULL, "start stop up timer",
	  "WARN killing 'web' (42) with SIGKILL" },
	{ "spawnerr while stopping", NULL, "start stop nospawn",
	  "INFO spawnerr: web: no such file" },
	{ "killing a left-over tree", NULL, "start up timer exit:0+ kill",
	  "WARN killing what is left of 'web' with SIGKILL" },
	{ "stopped by a signal", NULL, "start up timer stop sig:15",
	  "WARN stopped: web (terminated by SIGTERM)" },
	{ "stopped with a status", NULL, "start up timer stop exit:0+ gone",
	  "INFO stopped: web (exit status 0)" },
	{ "a resource is lacking: one line, not one a try", NULL, "start busy timer busy relief up",
	  "INFO spawned: 'web' with pid 42" },
};

Test(svc, log_lines)
{
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		struct world w;
		char *last;

		play(&w, lines[i].settings, lines[i].script);
		cr_assert(w.logged.len > 0);
		w.logged.p[w.logged.len - 1] = '\0';
		last = strrchr(w.logged.p, '\n');
		cr_expect_str_eq(last ? last + 1 : w.logged.p, lines[i].line, "%s: %s",
				 lines[i].claim, w.logged.p);
		world_fini(&w);
	}
}

Test(svc, lack_of_resources_is_logged_once)
{
	struct world w;

	play(&w, NULL, "start busy timer busy timer busy");
	cr_expect_str_eq(w.logged.p, "WARN spawnerr: web: fork: try again\n");
	cr_expect_str_eq(w.svc.spawn_error, "fork: try again");
	world_fini(&w);
}

/* Ten minutes after what came last. */
static const struct {
	const char *settings;
	const char *script;
	const char *info;
} infos[] = {
	{ NULL, "+1", "Not started" },
	{ NULL, "start up timer", "" },
	{ NULL, "start up timer exit:0", "last exit: code 0, 10m ago" },
	{ NULL, "start up timer core:11 up", "last exit: SIGSEGV (core), 10m ago" },
	{ NULL, "start up timer stop sig:15", "last exit: SIGTERM, 10m ago" },
	{ NULL, "start up exit:3", "code 3, retry in 1 s (1 of 3)" },
	{ "startretries=-1", "start up sig:9 timer up sig:9", "SIGKILL, retry in 2 s (2)" },
	{ "delay_ms=3500", "start up timer exit:1", "code 1, retry in 3.5 s" },
	{ NULL, "start nospawn +200", "no such file, retry in 0.8 s (1 of 3)" },
	{ NULL, "start busy", "fork: try again, retry in 0.1 s" },
	{ NULL, "start stop busy", "fork: try again" },
	{ "startretries=0", "start nospawn", "no such file" },
	{ "startretries=0", "start up exit:1",
	  "Exited too quickly (process log may have details); last exit: code 1, 10m ago" },
	{ NULL, "start up timer stop +1000", "SIGKILL in 9 s" },
	{ NULL, "start up timer restart timer", "SIGKILL sent, then start" },
	{ NULL, "start stop", "its start has not been answered yet" },
	{ NULL, "start kill start", "its start has not been answered yet, then start" },
	{ NULL, "start up timer kill start", "SIGKILL sent, then start" },
	{ NULL, "start up timer exit:7+", "code 7, ending the rest of its tree" },
};

Test(svc, info_column)
{
	for (size_t i = 0; i < ARRAY_SIZE(infos); i++) {
		struct world w;
		AUTO_FREE char *info = NULL;

		play(&w, infos[i].settings, infos[i].script);
		info = svc_info(&w.svc, w.now, (struct mps_time){ 600 * MPS_NS_PER_S + 1 });
		cr_expect_str_eq(info, infos[i].info, "%s: %s", infos[i].script, info);
		world_fini(&w);
	}
}

/* One second apart each: so many of the greatest limit that the ring comes round several times. */
Test(svc, the_greatest_restart_limit_is_exact)
{
	struct world w;
	unsigned n = 0;

	play(&w, "startsecs=0 limit=128 limit_secs=128", "start up");
	for (; n < 1000; n++) {
		do_word(&w, "+1000");
		do_word(&w, n % 128 == 127 ? "+1" : "+0");
		do_word(&w, "exit:1");
		if (w.svc.state != SVC_STARTING)
			break;
		do_word(&w, "up");
	}
	cr_expect_eq(n, 1000, "FATAL after %u restarts", n);
	for (n = 0; w.svc.state != SVC_FATAL; n++) {
		cr_assert_lt(n, 10);
		do_word(&w, "exit:1");
		do_word(&w, "up");
	}
	cr_expect_eq(n, 1, "%u", n);
	world_fini(&w);
}

/* ------------------------------------------------------------------------------------------------ fields */

Test(svc, counts_restarts_since_the_last_request)
{
	struct world w;

	play(&w, NULL, "start nospawn timer up timer exit:1 busy timer up timer");
	cr_expect_eq(w.svc.restarts, 2);
	cr_expect_eq(w.svc.gen, 4);
	do_word(&w, "restart");
	do_word(&w, "exit:0");
	cr_expect_eq(w.svc.restarts, 0);
	world_fini(&w);
}

Test(svc, keeps_the_last_runs)
{
	struct world w;
	struct svc_past *h;

	play(&w, NULL, "start nospawn timer up timer +500 exit:1");
	h = w.svc.history;
	cr_assert_eq(w.svc.n_history, 2);
	cr_expect_eq(h[0].code, 0);
	cr_expect_eq(h[1].code, CLD_EXITED);
	cr_expect_eq(h[1].status, 1);
	cr_expect_eq(h[1].uptime_ns, 1500 * MPS_NS_PER_MS);
	for (int i = 0; i < SVC_HISTORY; i++) {
		do_word(&w, "up");
		do_word(&w, "timer");
		do_word(&w, "exit:5");
	}
	cr_expect_eq(w.svc.n_history, SVC_HISTORY + 2);
	for (int i = 0; i < SVC_HISTORY; i++)
		cr_expect_eq(h[i].status, 5);
	world_fini(&w);
}

Test(svc, a_stop_in_backoff_counts_anew)
{
	struct world w;

	play(&w, NULL, "start nospawn timer nospawn stop");
	cr_expect_eq(w.svc.backoff, 0);
	cr_expect_eq(w.svc.restarts, 0);
	world_fini(&w);
}

Test(svc, notes_when_states_change)
{
	struct mps_time wall = mps_wall();
	struct world w;

	play(&w, NULL, "+70 start +30 up");
	cr_expect_eq(w.svc.changed.ns, w.now.ns - 30 * MPS_NS_PER_MS);
	cr_expect_eq(w.svc.started.ns, w.now.ns);
	cr_expect(w.svc.changed_wall.ns >= wall.ns);
	cr_expect(w.svc.started_wall.ns >= w.svc.changed_wall.ns);
	world_fini(&w);
}

static void stop_from_inside(struct svc *s, enum svc_state from)
{
	(void)from;
	svc_event(s, SVC_EV_STOP, NULL, mps_now());
}

Test(svc, an_event_from_inside_an_op_is_a_bug, .signal = SIGABRT)
{
	struct svc_ops ops = world_ops;
	struct world w;

	ops.on_state = stop_from_inside;
	play(&w, NULL, "+1");
	w.svc.ops = &ops;
	svc_event(&w.svc, SVC_EV_START, NULL, w.now);
}

Test(svc, a_request_clears_the_spawn_error)
{
	struct world w;

	play(&w, "startretries=0", "start nospawn start");
	cr_expect_null(w.svc.spawn_error);
	do_word(&w, "up");
	do_word(&w, "exit:1");
	cr_expect_str_eq(w.svc.spawn_error, "Exited too quickly (process log may have details)");
	world_fini(&w);
}

Test(svc, a_good_start_clears_the_spawn_error)
{
	struct world w;

	play(&w, NULL, "start nospawn");
	cr_expect_str_eq(w.svc.spawn_error, "no such file");
	do_word(&w, "timer");
	do_word(&w, "up");
	cr_expect_null(w.svc.spawn_error);
	world_fini(&w);
}

static bool ended_in_exited;

static void watch_exited(struct svc *s, enum svc_state from)
{
	world_on_state(s, from);
	if (s->state == SVC_EXITED)
		ended_in_exited = svc_is_ended(s);
}

Test(svc, exited_before_a_restart_is_not_ended)
{
	struct svc_ops ops = world_ops;
	struct world w;

	ops.on_state = watch_exited;
	play(&w, NULL, "start up timer");
	w.svc.ops = &ops;
	ended_in_exited = true;
	do_word(&w, "exit:1");
	cr_expect(!ended_in_exited);
	do_word(&w, "up");
	do_word(&w, "timer");
	do_word(&w, "exit:0");
	cr_expect(ended_in_exited);
	world_fini(&w);
}

Test(svc, fini_disarms_and_takes_zeroes)
{
	struct svc zero = { 0 };
	struct world w;

	svc_fini(NULL);
	svc_fini(&zero);
	play(&w, NULL, "start nospawn");
	cr_expect_neq(w.timer.ns, 0);
	world_fini(&w);
	cr_expect_eq(w.timer.ns, 0);
}

Test(svc, an_exit_is_wanted_of_what_has_come_up_or_is_to_stop)
{
	static const struct {
		const char *script;
		int code, status;
		bool want;
	} rows[] = {
		{ "start up timer", CLD_EXITED, 0, true },
		{ "start up timer", CLD_EXITED, 1, false },
		{ "start up timer", CLD_KILLED, SIGTERM, false },
		{ "start up", CLD_EXITED, 0, false },
		{ "start up +60000", CLD_EXITED, 0, true }, /* the timer was not heard */
		{ "start up +60000", CLD_EXITED, 1, false },
		{ "start up timer stop", CLD_KILLED, SIGTERM, true },
		{ "start up stop", CLD_EXITED, 1, true },
		{ "start up timer restart", CLD_DUMPED, SIGSEGV, true },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct svc_exit e = { .code = rows[i].code, .status = rows[i].status };
		struct world w;

		play(&w, "startsecs=1 exitcode=0", rows[i].script);
		cr_expect_eq(svc_exit_is_wanted(&w.svc, &e, w.now), rows[i].want, "row %zu: %s", i,
			     rows[i].script);
		world_fini(&w);
	}
}
