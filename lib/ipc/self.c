/*
 * See self.h. It is kept in a page that the kernel wipes in a child (MADV_WIPEONFORK, Linux 4.14), however that was made; on
 * older ones the pid is asked for each time.
 */
#include "ipc/self.h"

#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#include "proc/tree.h"

struct page {
	_Atomic uint64_t start;
	_Atomic pid_t pid; /* 0 = nothing is known; written last */
};

static _Atomic(struct page *) page;

static struct page *make_page(void)
{
	size_t size = (size_t)sysconf(_SC_PAGESIZE);
	struct page *none = NULL, *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
					    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	if (madvise(p, size, MADV_WIPEONFORK) < 0 ||
	    !atomic_compare_exchange_strong(&page, &none, p))
		munmap(p, size);
	return atomic_load(&page);
}

static int look(struct self *ret)
{
	struct proc_stat st;
	int r;

	ret->pid = getpid();
	r = proc_stat_read(ret->pid, &st);
	ret->start = r == 0 ? st.start_ticks : 0;
	return r;
}

int self_get(struct self *ret)
{
	struct page *p = atomic_load_explicit(&page, memory_order_acquire);
	int r;

	if (p != NULL) {
		ret->pid = atomic_load_explicit(&p->pid, memory_order_acquire);
		ret->start = atomic_load_explicit(&p->start, memory_order_relaxed);
		if (ret->pid != 0)
			return 0;
	}
	r = look(ret);
	if (r == 0 && (p != NULL || (p = make_page()) != NULL)) {
		atomic_store(&p->start, ret->start);
		atomic_store(&p->pid, ret->pid);
	}
	return r;
}
