/* The gate image: the only code of ours that lives in the application's window.
 *
 * It is linked at GATE_BASE, so that a frame parked anywhere in it holds only
 * window addresses and a restart needs to refill nothing but the table page.
 * Offsets are a versioned ABI (src/abi.rs); offsets from %gs are those of
 * `Record` (src/record.rs, checked there at compile time).
 *
 *   +0x1000  vDSO functions        +0x1a00  signal wrapper
 *   +0x1400  gate                  +0x1c00  probe
 *   +0x1800  exempt system call    +0x1d00  where the gate begins anew
 *                                  +0x3000  table page (RW)
 *
 * %gs:0 is the record's own address, zero on threads that host no upper thread.
 * Where user programs may not change FS by instructions (the table says so), it
 * is done by arch_prctl.
 */
#define ME         0
#define LOWER_FS   8
#define LOWER_SP  16
#define UPPER_FS  24
#define PENDING   32
#define HANDLERS  40
#define ATTENTION 48
#define LAST_RIP  64
#define LAST_SP   72
#define LAST_TSC  80
#define DELIVERED 88

#define NR_PENDING 0x17700001
#define NR_SIGNAL  0x17700002

#define NR_ARCH_PRCTL 158
#define ARCH_SET_FS 0x1002
#define ARCH_GET_FS 0x1003

/* Slots of the table */
#define DISPATCH table+8*8(%rip)
#define CLOSED   table+8*9(%rip)	/* 4 bytes */
#define BY_CALLS table+8*9+4(%rip)	/* 4 bytes */
#define CLOSED_OR_BY_CALLS table+8*9(%rip)

/* struct ucontext: interrupted rsp and rip */
#define UC_RSP 160
#define UC_RIP 168

	.text
/* A vDSO function: the real one does the work and is not parkable (its
 * addresses die with the process), so whoever interrupts it only sets PENDING. */
	.macro	VDSO name, slot, nr=0
	.globl	\name
	.type	\name, @function
	.balign	64
\name:
	.cfi_startproc
	endbr64
	.if	\nr
	test	%edi, %edi		/* a CPU clock: its id holds a PID or TID */
	js	1f
	.endif
	sub	$8, %rsp
	.cfi_adjust_cfa_offset 8
	call	*table+8*\slot(%rip)
	add	$8, %rsp
	.cfi_adjust_cfa_offset -8
	cmpq	$0, %gs:PENDING
	jne	attend
	ret
	.if	\nr
1:	mov	$\nr, %eax
	syscall
	ret
	.endif
	.cfi_endproc
	.size	\name, .-\name
	.endm

	VDSO	__vdso_clock_gettime, 0, 228
	VDSO	__vdso_gettimeofday, 1
	VDSO	__vdso_time, 2
	VDSO	__vdso_getcpu, 3
	VDSO	__vdso_clock_getres, 4, 229

/* Something waits for this thread (a park request, signals held back): trap
 * into the lower half, which sees to it on this very frame. Keeps %rax. */
attend:
	push	%rax
	mov	$NR_PENDING, %eax
	syscall
	pop	%rax
	ret

/* u64 gate(u32 call_id, u64 *args). FS is the mark of who runs: it changes
 * first on the way down and last on the way up, so that a signal handler of
 * the application never runs with lower frames beneath it. What stands between
 * `descent` and `below` begins anew when it was interrupted: another process
 * may go on with it. */
	.org	0x400
	.globl	gpuckpt_gate
	.type	gpuckpt_gate, @function
gpuckpt_gate:
gate:
	.cfi_startproc
	endbr64
	push	%rbp
	.cfi_def_cfa_offset 16
	.cfi_offset %rbp, -16
	mov	%rsp, %rbp
	.cfi_def_cfa_register %rbp
descent:
	cmpq	$0, CLOSED_OR_BY_CALLS
	jne	3f
	rdfsbase %rax
	mov	%rax, %gs:UPPER_FS
	mov	%gs:LOWER_FS, %rax
	wrfsbase %rax
below:	mov	%gs:LOWER_SP, %rsp
	call	*DISPATCH
	mov	%gs:UPPER_FS, %rcx
	mov	%rbp, %rsp
	wrfsbase %rcx
2:	cmpq	$0, %gs:PENDING
	pop	%rbp
	jne	attend
	ret
3:	cmpl	$0, CLOSED
	je	by_calls
	test	%edi, %edi		/* internal calls pass a closed gate, by the way */
	js	by_calls		/* that is there on every machine */
	push	%rdi
	push	%rsi
4:	lea	CLOSED, %rdi
	mov	$128, %esi		/* FUTEX_WAIT | FUTEX_PRIVATE_FLAG */
	mov	$1, %edx
	xor	%r10d, %r10d
	mov	$202, %eax
	syscall
	cmpl	$0, CLOSED
	jne	4b
	pop	%rsi
	pop	%rdi
	jmp	descent
/* A system call leaves %r8 and %r9 alone. */
by_calls:
	mov	%rdi, %r8
	mov	%rsi, %r9
descent_by_calls:
	mov	%fs:0, %rax		/* the base itself, in nearly every program */
	cmp	%gs:UPPER_FS, %rax
	je	6f
	mov	$ARCH_GET_FS, %edi
	mov	%gs:ME, %rsi
	add	$UPPER_FS, %rsi
	mov	$NR_ARCH_PRCTL, %eax
	syscall
6:	mov	$ARCH_SET_FS, %edi
	mov	%gs:LOWER_FS, %rsi
	mov	$NR_ARCH_PRCTL, %eax
	syscall
below_by_calls:
	mov	%r8, %rdi
	mov	%r9, %rsi
	mov	%gs:LOWER_SP, %rsp
	call	*DISPATCH
	mov	%rax, %r8
	mov	%rbp, %rsp
	mov	$ARCH_SET_FS, %edi
	mov	%gs:UPPER_FS, %rsi
	mov	$NR_ARCH_PRCTL, %eax
	syscall
	mov	%r8, %rax
	jmp	2b
gate_end:
	.cfi_endproc
	.size	gpuckpt_gate, .-gpuckpt_gate

/* A system call that the filter lets pass, on behalf of an upper call whose
 * arguments had to be changed. %rsp points to a Reissue (src/reissue.rs): the
 * registers as the application had them, the return address, then what the
 * changed arguments point to. */
	.org	0x800
	.globl	gpuckpt_reissue
	.type	gpuckpt_reissue, @function
gpuckpt_reissue:
	syscall
	cmpl	$0, 144(%rsp)		/* is there more to do than to return? */
	jne	4f
	mov	56(%rsp), %rcx		/* bytes that an earlier part transferred */
	test	%rcx, %rcx
	jnz	2f
1:	pop	%rdi
	pop	%rsi
	pop	%rdx
	pop	%r10
	pop	%r8
	pop	%r9
	ret	$(128 + 128)		/* payload and red zone */
2:	test	%rax, %rax
	jns	3f
	xor	%eax, %eax
3:	add	%rcx, %rax
	jmp	1b
4:	mov	%rax, 152(%rsp)		/* the lower half ends this call */
	mov	$NR_PENDING, %eax
	syscall
	ud2
	.size	gpuckpt_reissue, .-gpuckpt_reissue

/* Every signal handler of the application is installed in the kernel as this
 * one: handler(%edi, %rsi siginfo, %rdx ucontext). */
	.org	0xa00
	.globl	gpuckpt_signal
	.type	gpuckpt_signal, @function
gpuckpt_signal:
	endbr64
	cmpq	$0, %gs:ME
	je	4f
	cmpl	$0, BY_CALLS
	jne	5f
	rdfsbase %rcx
6:	cmp	%gs:LOWER_FS, %rcx
	je	4f
	mov	UC_RIP+4(%rdx), %eax
	test	%eax, %eax		/* below 4 GiB: a non-PIE program */
	jz	1f
	sub	$0x1600, %eax
	cmp	$0x1400, %eax
	jae	4f
1:	mov	UC_RIP(%rdx), %rax
	mov	%rax, %gs:LAST_RIP
	mov	UC_RSP(%rdx), %rax
	mov	%rax, %gs:LAST_SP
	mov	%rdx, %r8
	rdtsc
	shl	$32, %rdx
	or	%rdx, %rax
	mov	%r8, %rdx
	mov	%rax, %gs:LAST_TSC
	incq	%gs:DELIVERED
	cmpq	$0, %gs:ATTENTION
	jne	3f
	mov	UC_RIP(%rdx), %rax
	lea	gate(%rip), %rcx
	sub	%rcx, %rax
	cmp	$(gate_end - gate), %rax
	jb	3f
2:	mov	%gs:HANDLERS, %rax
	mov	(%rax,%rdi,8), %rax
	jmp	*%rax
3:	mov	$NR_SIGNAL, %eax	/* rewound call, ids to translate, or in the gate */
	syscall
	jmp	2b
4:	jmp	*table+8*11(%rip)	/* in lower code, or a thread that hosts nobody */
5:	push	%rdi
	push	%rsi
	push	%rax
	mov	$ARCH_GET_FS, %edi
	mov	%rsp, %rsi
	mov	$NR_ARCH_PRCTL, %eax
	syscall
	pop	%rcx
	pop	%rsi
	pop	%rdi
	jmp	6b
	.size	gpuckpt_signal, .-gpuckpt_signal

/* i64 probe(nr): a system call from the window. */
	.org	0xc00
	.globl	gpuckpt_probe
	.type	gpuckpt_probe, @function
gpuckpt_probe:
	mov	%rdi, %rax
	syscall
	ret
	.size	gpuckpt_probe, .-gpuckpt_probe

/* The code of the gate that begins anew: see DESCENTS (src/abi.rs). */
	.org	0xd00
	.long	descent - gate, below - gate
	.long	descent_by_calls - gate, below_by_calls - gate

	.section .table, "aw", @progbits
	.balign	4096
	.hidden	table
table:
	.fill	4096, 1, 0

	.section .note.GNU-stack, "", @progbits
