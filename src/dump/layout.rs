//! Field offsets of `DUMP_HEADER32`, `DUMP_HEADER64` and `TRIAGE_DUMP` as one table a width.
//!
//! Offsets are from the start of the structure, in bytes; source: `docs/dump-format.md`.

/// Offsets in a dump header and sizes that go with its width.
#[derive(Debug)]
pub struct HeaderLayout {
    pub pointer: usize,
    pub size: usize,
    pub major_version: usize,
    pub minor_version: usize,
    pub directory_table_base: usize,
    pub ps_loaded_module_list: usize,
    pub ps_active_process_head: usize,
    pub machine_image_type: usize,
    pub number_processors: usize,
    pub bug_check_code: usize,
    pub bug_check_parameters: usize,
    pub pae_enabled: Option<usize>,
    pub kd_debugger_data_block: usize,
    pub physical_memory_block: usize,
    pub most_runs: u32,
    pub context_record: usize,
    pub context_room: usize,
    pub dump_type: usize,
    pub product_type: usize,
    pub writer_status: usize,
    pub attributes: usize,
    pub required_dump_space: usize,
    pub system_up_time: usize,
    pub comment: usize,
    pub system_time: usize,
    pub triage: TriageLayout,
}

/// Offsets in `TRIAGE_DUMP`, which follows the header. Fields up to TriageOptions are the same
/// in both widths and are named in [`super::triage`].
#[derive(Debug)]
pub struct TriageLayout {
    pub size: usize,
    pub top_of_stack: usize,
    pub backing_store: Option<usize>,
    pub data_page_address: usize,
    pub data_page_offset: usize,
    pub data_page_size: usize,
    pub debugger_data_offset: usize,
    pub debugger_data_size: usize,
    pub data_blocks_offset: usize,
    pub data_blocks_count: usize,
    /// Offset of the KLDR entry behind the name's offset, and the stride real dumps use.
    pub driver_entry: usize,
    pub driver_stride: usize,
    pub kldr: KldrLayout,
    pub unloaded: UnloadedLayout,
}

/// Offsets in `KLDR_DATA_TABLE_ENTRY`.
#[derive(Debug)]
pub struct KldrLayout {
    pub dll_base: usize,
    pub size_of_image: usize,
    pub base_dll_name_length: usize,
    pub check_sum: usize,
    pub time_date_stamp: usize,
}

/// Offsets in one entry of the unloaded driver list of a triage dump.
#[derive(Debug)]
pub struct UnloadedLayout {
    pub first: usize,
    pub stride: usize,
    pub name: usize,
    pub start: usize,
    pub end: usize,
}

/// 32-bit dumps (`PAGEDUMP`).
pub static BITS32: HeaderLayout = HeaderLayout {
    pointer: 4,
    size: 0x1000,
    major_version: 0x008,
    minor_version: 0x00C,
    directory_table_base: 0x010,
    ps_loaded_module_list: 0x018,
    ps_active_process_head: 0x01C,
    machine_image_type: 0x020,
    number_processors: 0x024,
    bug_check_code: 0x028,
    bug_check_parameters: 0x02C,
    pae_enabled: Some(0x05C),
    kd_debugger_data_block: 0x060,
    physical_memory_block: 0x064,
    most_runs: 86,
    context_record: 0x320,
    context_room: 1200,
    dump_type: 0xF88,
    product_type: 0xF94,
    writer_status: 0xF9C,
    attributes: 0x8A0,
    required_dump_space: 0xFA0,
    system_up_time: 0xFB8,
    comment: 0x820,
    system_time: 0xFC0,
    triage: TriageLayout {
        size: 0x68,
        top_of_stack: 0x48,
        backing_store: None,
        data_page_address: 0x4C,
        data_page_offset: 0x50,
        data_page_size: 0x54,
        debugger_data_offset: 0x58,
        debugger_data_size: 0x5C,
        data_blocks_offset: 0x60,
        data_blocks_count: 0x64,
        driver_entry: 0x04,
        driver_stride: 0x4C,
        kldr: KldrLayout {
            dll_base: 0x18,
            size_of_image: 0x20,
            base_dll_name_length: 0x2C,
            check_sum: 0x40,
            time_date_stamp: 0x44,
        },
        unloaded: UnloadedLayout {
            first: 4,
            stride: 0x28,
            name: 0x08,
            start: 0x20,
            end: 0x24,
        },
    },
};

/// 64-bit dumps (`PAGEDU64`).
pub static BITS64: HeaderLayout = HeaderLayout {
    pointer: 8,
    size: 0x2000,
    major_version: 0x0008,
    minor_version: 0x000C,
    directory_table_base: 0x0010,
    ps_loaded_module_list: 0x0020,
    ps_active_process_head: 0x0028,
    machine_image_type: 0x0030,
    number_processors: 0x0034,
    bug_check_code: 0x0038,
    bug_check_parameters: 0x0040,
    pae_enabled: None,
    kd_debugger_data_block: 0x0080,
    physical_memory_block: 0x0088,
    most_runs: 43,
    context_record: 0x0348,
    context_room: 3000,
    dump_type: 0x0F98,
    product_type: 0x1040,
    writer_status: 0x1048,
    attributes: 0x1050,
    required_dump_space: 0x0FA0,
    system_up_time: 0x1030,
    comment: 0x0FB0,
    system_time: 0x0FA8,
    triage: TriageLayout {
        size: 0x80,
        top_of_stack: 0x48,
        backing_store: Some(0x50),
        data_page_address: 0x60,
        data_page_offset: 0x68,
        data_page_size: 0x6C,
        debugger_data_offset: 0x70,
        debugger_data_size: 0x74,
        data_blocks_offset: 0x78,
        data_blocks_count: 0x7C,
        driver_entry: 0x08,
        driver_stride: 0x90,
        kldr: KldrLayout {
            dll_base: 0x30,
            size_of_image: 0x40,
            base_dll_name_length: 0x58,
            check_sum: 0x78,
            time_date_stamp: 0x80,
        },
        unloaded: UnloadedLayout {
            first: 8,
            stride: 0x38,
            name: 0x10,
            start: 0x28,
            end: 0x30,
        },
    },
};
