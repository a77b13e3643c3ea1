/*
 * What tests/e2e/nop.c tells the benchmark: a file that both map. The program stamps its slot as its first act; the one
 * that makes the count reach `target` wakes the observer, so that nobody polls.
 */
#ifndef TESTS_E2E_NOP_H
#define TESTS_E2E_NOP_H

#include <stdint.h>

struct nop_slot {
	_Atomic int64_t started_ns; /* CLOCK_MONOTONIC of the latest start */
	_Atomic int32_t pid;
	_Atomic uint32_t starts;
};

struct nop_shared {
	_Atomic uint32_t ups;	 /* starts in all; the futex */
	_Atomic uint32_t target; /* wake the observer when ups gets here */
	struct nop_slot slot[];
};

#endif
