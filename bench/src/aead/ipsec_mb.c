/* intel-ipsec-mb as the benchmark calls it: a burst of 32 packets, each under a key of its own. */

/* Aligns the library's key structure to cache lines, as it wants it. */
#define LINUX
#include <intel-ipsec-mb.h>
#include <stdlib.h>
#include <string.h>

#define BURST 32
#define TEXT 14
#define AAD 6
#define TAG 16

struct burst {
	const struct gcm_key_data *key[BURST];
	uint8_t nonce[BURST][16];
	uint8_t aad[BURST][16];
	uint8_t text[BURST][16];
	uint8_t tag[BURST][16];
	uint8_t computed[BURST][16];
};

void *bench_imb_new(void)
{
	IMB_ARCH arch;
	IMB_MGR *mgr = alloc_mb_mgr(0);

	if (mgr == NULL)
		return NULL;
	init_mb_mgr_auto(mgr, &arch);
	if (imb_get_errno(mgr) != 0) {
		free_mb_mgr(mgr);
		return NULL;
	}
	return mgr;
}

void bench_imb_free(void *mgr)
{
	free_mb_mgr(mgr);
}

/* Keys of this many octets follow each other in a table. */
size_t bench_imb_key_size(void)
{
	return sizeof(struct gcm_key_data);
}

/* Sets one line's bit for each cache line of a key that a short packet needs: the round keys, and the lowest powers of H. */
uint32_t bench_imb_lines(const IMB_MGR *mgr)
{
	const uint32_t round_keys = 0x7;

	if ((mgr->features & IMB_CPUFLAGS_AVX512_T2) == IMB_CPUFLAGS_AVX512_T2)
		return round_keys | 0x8000; /* H is the last of 48 powers */
	return round_keys | 0x38;
}

void *bench_imb_table(size_t keys)
{
	return aligned_alloc(64, keys * sizeof(struct gcm_key_data));
}

void bench_imb_expand(IMB_MGR *mgr, void *table, size_t at, const uint8_t *key)
{
	IMB_AES128_GCM_PRE(mgr, key, (struct gcm_key_data *)table + at);
}

static uint32_t verified(const struct burst *b)
{
	uint32_t mask = 0;

	for (int i = 0; i < BURST; i++) {
		uint64_t a[2], c[2];

		memcpy(a, b->tag[i], TAG);
		memcpy(c, b->computed[i], TAG);
		mask |= (uint32_t)(((a[0] ^ c[0]) | (a[1] ^ c[1])) == 0) << i;
	}
	return mask;
}

/* The direct call, packet by packet. */
uint32_t bench_imb_direct(IMB_MGR *mgr, struct burst *b, int open)
{
	struct gcm_context_data context;

	for (int i = 0; i < BURST; i++) {
		if (open)
			IMB_AES128_GCM_DEC(mgr, b->key[i], &context, b->text[i], b->text[i], TEXT, b->nonce[i], b->aad[i],
					   AAD, b->computed[i], TAG);
		else
			IMB_AES128_GCM_ENC(mgr, b->key[i], &context, b->text[i], b->text[i], TEXT, b->nonce[i], b->aad[i],
					   AAD, b->tag[i], TAG);
	}
	return open ? verified(b) : UINT32_MAX;
}

/* The burst of jobs, unchecked: the faster of the job interfaces. */
uint32_t bench_imb_jobs(IMB_MGR *mgr, struct burst *b, int open)
{
	IMB_JOB *jobs[BURST];
	uint32_t done;

	if (IMB_GET_NEXT_BURST(mgr, BURST, jobs) != BURST)
		return 0;
	for (int i = 0; i < BURST; i++) {
		IMB_JOB *job = jobs[i];

		job->enc_keys = b->key[i];
		job->dec_keys = b->key[i];
		job->key_len_in_bytes = 16;
		job->src = b->text[i];
		job->dst = b->text[i];
		job->cipher_start_src_offset_in_bytes = 0;
		job->msg_len_to_cipher_in_bytes = TEXT;
		job->hash_start_src_offset_in_bytes = 0;
		job->msg_len_to_hash_in_bytes = TEXT;
		job->iv = b->nonce[i];
		job->iv_len_in_bytes = 12;
		job->auth_tag_output = open ? b->computed[i] : b->tag[i];
		job->auth_tag_output_len_in_bytes = TAG;
		job->u.GCM.aad = b->aad[i];
		job->u.GCM.aad_len_in_bytes = AAD;
		job->cipher_mode = IMB_CIPHER_GCM;
		job->cipher_direction = open ? IMB_DIR_DECRYPT : IMB_DIR_ENCRYPT;
		job->hash_alg = IMB_AUTH_AES_GMAC;
		job->chain_order = open ? IMB_ORDER_HASH_CIPHER : IMB_ORDER_CIPHER_HASH;
	}
	done = IMB_SUBMIT_BURST_NOCHECK(mgr, BURST, jobs);
	if (done < BURST)
		done += IMB_FLUSH_BURST(mgr, BURST - done, jobs);
	if (done != BURST)
		return 0;
	return open ? verified(b) : UINT32_MAX;
}
